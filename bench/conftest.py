"""Options of the benchmark, its cases, and what a result file says about the machine."""

from __future__ import annotations

import datetime

import pytest
import torch
from allocator import keep_freed_memory
from cases import LIBRARIES, cases
from machine import THREADS, describe, load_average
from pairing import interleaved
from timers import timer_for

# What other programs were doing before the start: the load average of the last minute.
LOAD = pytest.StashKey[float]()


def pytest_addoption(parser):
    group = parser.getgroup("rsample")
    group.addoption("--sizes", help="comma-separated powers of two to run instead of the sweep, such as 10,20")
    group.addoption("--device", help="where to draw; the GPU if there is one, else the CPU")
    group.addoption("--budget", type=float, default=0.4, help="seconds of timing a case, where 11 rounds fit in them")


def pytest_configure(config):
    torch.set_num_threads(THREADS)
    keep_freed_memory()
    config.stash[LOAD] = load_average()


def _device(config) -> torch.device:
    return torch.device(config.getoption("device") or ("cuda" if torch.cuda.is_available() else "cpu"))


def pytest_report_header(config):
    return f"measuring on {_device(config)}, {torch.get_num_threads()} CPU threads"


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        sizes = metafunc.config.getoption("sizes")
        exponents = {int(e) for e in sizes.split(",")} if sizes else None
        pairs = [(case, library) for case in cases(exponents) for library in LIBRARIES]
        metafunc.parametrize(("case", "library"), pairs, ids=[f"{case}-{library}" for case, library in pairs])


@pytest.hookimpl
def pytest_benchmark_update_machine_info(config, machine_info):
    cpu = machine_info["cpu"].get("brand_raw", machine_info["machine"])
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    machine_info["measured"] = {**describe(_device(config), cpu), "load": config.stash[LOAD], "timestamp": now}


@pytest.fixture(scope="session")
def device(pytestconfig):
    return _device(pytestconfig)


@pytest.fixture(scope="session")
def paired_times(pytestconfig, device):
    """Seconds per call in each round of both libraries, measured when the first of the two asks."""
    timer, budget = timer_for(device), pytestconfig.getoption("budget")
    known = {}

    def times(case):
        if case not in known:
            known.clear()  # the two tests of a case are neighbours
            runs = {library: case.setup(library, device) for library in LIBRARIES}
            known[case] = interleaved(runs, timer, budget)
        return known[case]

    return times
