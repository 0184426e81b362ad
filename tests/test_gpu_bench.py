"""`make gpu` without a GPU: what it predicts, what its tables show, and what is left of a part that is cut off."""

from __future__ import annotations

import csv
import sys
import time
from dataclasses import fields

import pytest
import torch

pytest.importorskip("triton")

from gpu.checks import CHECKS, Check, differing, run_check, worst
from gpu.draws import TIMED, timed_cases
from gpu.figure import draw_figure
from gpu.links import environment, link_packages
from gpu.outcomes import OutcomeRow
from gpu.part import Outcome, run_part
from gpu.part_options import results_file
from gpu.plan import FULL, REHEARSAL
from gpu.prediction import Gpu, Kernel, bound, disagreements, predicted
from gpu.rehearsal import unexpected
from gpu.report import Results, fragment
from gpu.table import Table, read
from gpu.timings import Timing, known_instructions
from gpu.tuning import Tuned, configurations

from rsample.kernels import use_backend
from rsample.kernels.engines.triton import launch

H200 = Gpu(multiprocessors=132, clock=1.98e9, bandwidth=4.1e12)
FACTS = {
    "device": "NVIDIA H200",
    "torch": "2.11.0",
    "triton": "3.6.0",
    "rsample": "0.1.0",
    "python": "3.12.3",
    "timestamp": "2026-11-29T10:00:00+00:00",
}


# -- predictions


@pytest.mark.parametrize(
    ("kernel", "n", "seconds"),
    [
        (Kernel(bytes=12, instructions=18.8), 2**26, 12 * 2**26 / 4.1e12),
        (Kernel(bytes=4, instructions=139, multiplies=4.5), 2**26, 139 * 2**26 / (132 * 128 * 1.98e9)),
        (Kernel(bytes=2, instructions=15, multiplies=20), 2**26, 20 * 2**26 / (132 * 32 * 1.98e9)),
        (Kernel(bytes=12, instructions=18.8), 2**12, 2e-6),
    ],
    ids=["bytes", "instructions", "multiplies", "small"],
)
def test_a_kernel_is_bound_by_the_slowest_of_what_it_must_do(kernel, n, seconds):
    assert bound(kernel, n, H200) == pytest.approx(seconds)


def test_a_call_takes_its_kernels_or_the_host_whichever_is_longer():
    kernel = Kernel(bytes=12, instructions=18.8)
    once = predicted([kernel], 2**26, H200, host=1e-5)
    assert once == pytest.approx(1.16 * bound(kernel, 2**26, H200))
    assert predicted([kernel, kernel], 2**26, H200, host=1e-5) == pytest.approx(2 * once)
    assert predicted([kernel], 2**12, H200, host=1e-5) == 1e-5


def test_every_timed_draw_has_counts_and_moves_its_bytes():
    counts = known_instructions()
    for timed in TIMED:
        for dtype in FULL.dtypes:
            kernels = timed.kernels(dtype, counts)
            assert sum(k.bytes for k in kernels) == timed.draw.moved * dtype.itemsize
            assert len(kernels) == 1 + (timed.draw.work == "backward")


def test_disagreements_are_off_to_either_side_and_the_farthest_come_first():
    measured = {"a": "1.2", "b": "0.5", "c": "", "d": "1.4", "e": "0.8"}
    rows = [{"draw": draw, "of_predicted": of_predicted} for draw, of_predicted in measured.items()]
    assert [row["draw"] for row in disagreements(rows)] == ["b", "d"]


# -- tables, Markdown and plot


def timing(draw, library, dtype, exponent, seconds, expected):
    n = 2**exponent
    return Timing(
        draw=draw,
        library=library,
        dtype=dtype,
        shape=str((n,)),
        n=n,
        p50=seconds,
        p20=seconds,
        p80=seconds,
        host=8e-6,
        gbps=12 * n / seconds * 1e-9,
        of_copy=12 * n / seconds / H200.bandwidth,
        ratio=2.5 if library != "torch" else 1.0,
        ratio_p20=2.0,
        ratio_p80=3.0,
        predicted=expected if library == "rsample" else "",
        of_predicted=seconds / expected if library == "rsample" else "",
        rounds=11,
    )


def tuned(unroll, seconds, table):
    times = {"p50": seconds, "p20": seconds, "p80": seconds, "of_copy": 0.9}
    resources = {"registers": 32, "spills": 0, "blocks": 8, "occupancy": 0.5}
    return Tuned("normal", "float32", 2**26, 4, unroll, 4, table, **times, **resources)


@pytest.fixture
def base(tmp_path):
    """The base of the results of a whole run."""
    path = tmp_path / "nvidia-h200-gpu"
    rows = {
        "parts": [Outcome("checks", "passed", 41.0, 60.0), Outcome("tests", "cut off", 120.0, 120.0)],
        "checks": [
            Check("copy, read and written", "GB/s", 4100.0, "", "", 2**32, "a median"),
            Check("Normal.rsample", "worst error", 1e-6, 2e-5, "yes", 2**20, "noise"),
            Check("Gamma.rsample", "differing", 70, 4, "no", 2**20, "few"),
        ],
        "tests": [
            OutcomeRow("tests/test_a.py::test_b", "passed", 1.0, "", ""),
            OutcomeRow("tests/test_a.py::test_c[3]", "failed", 1.0, "AssertionError", "assert 1 == 2"),
        ],
        "timings": [
            timing(draw, library, dtype, exponent, 1e-4 * times, 1e-4 if draw == "Normal.rsample" else 2.6e-4)
            for draw in ("Normal.rsample", "Gamma.rsample")
            for dtype in ("float32", "bfloat16")
            for exponent in (12, 26)
            for library, times in (("torch", 2.5), ("rsample", 1.0), ("torch.compile", 1.5))
        ],
        "tuning": [
            tuned(unroll, time, "default" if unroll == 10 else "")
            for unroll, time in ((10, 2e-4), (4, 1.9e-4), (16, 1.8e-4), (2, 1.7e-4), (1, 3e-4))
        ],
    }
    for name, of_part in rows.items():
        table = Table(results_file(path, name), type(of_part[0]), FACTS)
        for row in of_part:
            table.add(row)
    return path


def test_markdown_shows_every_part(base):
    text = fragment(Results.read(base), "results/nvidia-h200-gpu")
    assert text.startswith("NVIDIA H200; 2026-11-29; torch 2.11.0, triton 3.6.0, rsample 0.1.0, Python 3.12.3;")
    assert "tests cut off in 120 s" in text
    assert "1 of 2 checks pass" in text
    assert "4100 GB/s" in text
    assert "| Gamma.rsample | differing | 70 | 4 | few |" in text
    assert "1 failed, 1 passed" in text
    assert "`tests/test_a.py::test_c[3]`: AssertionError: assert 1 == 2" in text
    assert "| Normal.rsample | **2.50x** (1.50x) 100 us, 0% | **2.50x** (1.50x) 100 us, 196% |" in text
    assert "by more than 1.3x: 4 of 8." in text
    assert "| Gamma.rsample, bfloat16 | 2^26 | 100 | 260 | 0.38x |" in text
    # The default, and the fastest three.
    shown = [line.split("|")[2].strip() for line in text.splitlines() if line.startswith("| normal, float32")]
    assert shown == ["4 x 10 x 4 default", "4 x 2 x 4", "4 x 16 x 4", "4 x 4 x 4"]


@pytest.mark.parametrize("name", [field.name for field in fields(Results)])
def test_markdown_shows_what_there_is(base, name):
    results = Results.read(base)
    alone = Results(**{part: rows if part == name else [] for part, rows in vars(results).items()})
    assert fragment(alone, "x").startswith("NVIDIA H200;")


def test_the_plot_is_a_png(base, tmp_path):
    draw_figure(read(results_file(base, "timings")), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_facts_stand_in_every_row_after_the_columns_of_the_part(base):
    with results_file(base, "tests").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["test", "outcome", "seconds", "error", "message", *FACTS]
    assert all(row[-len(FACTS) :] == list(FACTS.values()) for row in rows)


# -- parts

SLOW_PART = """
import subprocess, sys, time
from dataclasses import dataclass
from pathlib import Path
from gpu.table import Table

@dataclass(frozen=True)
class Row:
    x: float

table = Table(Path(sys.argv[1]), Row, {"device": "none"})
table.add(Row(0.5))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
Path(sys.argv[2]).write_text(str(child.pid))
time.sleep(3600)
"""


def test_a_part_that_is_cut_off_leaves_its_rows_and_no_process(tmp_path):
    table, child = tmp_path / "rows.csv", tmp_path / "child"
    command = [sys.executable, "-c", SLOW_PART, str(table), str(child)]
    outcome = run_part("slow", command, 5.0, tmp_path, environment(tmp_path))
    assert outcome.outcome == "cut off"
    assert outcome.seconds >= 5
    assert read(table) == [{"x": "0.5", "device": "none"}]
    deadline = time.monotonic() + 900
    while running(int(child.read_text())):  # a busy machine takes its time to end what is killed
        assert time.monotonic() < deadline


def running(pid):
    """Whether a process runs: one that has ended stays in the table until its parent asks."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("status", "expected"), [(0, "passed"), (3, "failed")])
def test_a_part_passes_by_its_status(status, expected, tmp_path):
    assert run_part("x", [sys.executable, "-c", f"raise SystemExit({status})"], 60.0, tmp_path).outcome == expected


def test_the_package_is_found_in_a_folder_of_links(tmp_path):
    link_packages(tmp_path)
    find = f"""
import gpu.part, results, rsample
for module in (rsample, rsample.kernels, rsample.distributions):
    assert module.__file__.startswith({str(tmp_path)!r})
"""
    found = run_part("x", [sys.executable, "-c", find], 60.0, tmp_path, environment(tmp_path))
    assert found.outcome == "passed"


# -- what is checked, timed and tuned


def test_checks_pass_where_both_sides_are_the_reference(monkeypatch):
    monkeypatch.setattr("gpu.checks.use_backend", lambda name: use_backend("reference"))
    for name in CHECKS:
        checks = run_check(name, 2**10, torch.device("cpu"))
        assert [check.passed for check in checks] == ["yes"] * len(checks)


def test_a_check_fails_on_nan_and_on_a_difference():
    x = torch.zeros(3)
    assert worst("x", (x, x), 0.0, "").passed == "yes"
    assert worst("x", (x * torch.nan, x), 1.0, "").passed == "no"
    assert worst("x", (x + 0.1, x), 0.05, "").passed == "no"
    assert differing("x", torch.tensor([True, False]), 0, "").passed == "no"


def test_the_largest_float32_draws_are_timed_first():
    order = [(timed.draw.name, case.dtype, case.n) for timed, case in timed_cases(FULL)]
    assert order[:2] == [("Normal.rsample", torch.float32, 2**26), ("Normal.rsample", torch.float32, 2**24)]
    assert len(order) == len(set(order)) == len(TIMED) * 2 * 5
    assert len(list(timed_cases(REHEARSAL))) == REHEARSAL.draws * 2


def test_the_default_configuration_is_tuned_first():
    found = configurations(FULL)
    assert tuple(found[: len(launch.CONFIGS)]) == launch.CONFIGS
    assert len(found) == len(set(found))


def test_a_rehearsal_excuses_values_and_what_no_machine_without_a_gpu_can_do():
    row = {"test": "t", "outcome": "failed", "seconds": "1", "error": "AssertionError", "message": "assert 1 == 2"}
    others = [
        {**row, "error": "RuntimeError", "message": "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED"},
        {**row, "outcome": "passed", "error": ""},
    ]
    broken = [{**row, "error": "AttributeError"}, {**row, "error": "crash"}, {**row, "error": "RuntimeError"}]
    assert unexpected([row, *others, *broken]) == broken
