"""How tests marked `kernel` and `cuda` run on this machine.

A kernel test runs on the first of: Triton's interpreter, where TRITON_INTERPRET=1 was set before the start; a CUDA GPU;
an emulator that executes the compiled PTX on the CPU, where the package `gpu_emulator` can be imported. Else it is
skipped.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest
import torch

from rsample.kernels.draws import native_core
from rsample.kernels.engines.triton import launch
from rsample.kernels.runtime.language import HAS_TRITON, triton


def _found(package: str) -> bool:
    beside = Path(__file__).resolve().parents[2] / "shared"
    if importlib.util.find_spec(package) is None and (beside / package).is_dir():
        sys.path.append(str(beside))
    return importlib.util.find_spec(package) is not None


def _runner() -> str | None:
    if not HAS_TRITON:
        return None
    if triton.knobs.runtime.interpret:
        return "interpreter"
    if torch.cuda.is_available():
        return "cuda"
    return "emulator" if _found("gpu_emulator") else None


RUNNER = _runner()


def pytest_report_header(config):
    return f"kernel tests run on: {RUNNER or 'nothing (no interpreter, no GPU, no emulator)'}"


NO_GPU = "needs an NVIDIA GPU, and TRITON_INTERPRET unset"
NO_RUNNER = "nothing runs Triton kernels here: TRITON_INTERPRET unset, no GPU, no emulator"
NO_STUB = "needs a CUDA build of torch, and the package gpu_host, a stand-in for the driver"
# What the tests are that were skipped for a reason, and how to run them.
ELSEWHERE = {
    NO_GPU: "that need an NVIDIA GPU (make gpu)",
    NO_RUNNER: "that run kernels (TRITON_INTERPRET=1 pytest -m kernel)",
    NO_STUB: "on a stand-in for the driver (have the package gpu_host)",
}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("cuda") and RUNNER != "cuda":
            item.add_marker(pytest.mark.skip(reason=NO_GPU))
        elif item.get_closest_marker("kernel") and RUNNER is None:
            item.add_marker(pytest.mark.skip(reason=NO_RUNNER))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    """One line, below the summary, that says what was not run, and how to run it."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    parts = [f"{reasons.pop(reason)} {tests}" for reason, tests in ELSEWHERE.items() if reason in reasons]
    if reasons:
        parts.append(f"{reasons.total()} for other reasons (listed above)")
    if parts:
        terminalreporter.write_line(f"tests not run: {'; '.join(parts)}")


@pytest.fixture(scope="session", autouse=True)
def _native_core():
    """The core of small draws, which a program has after half a minute, from the first test on."""
    native_core.wait()


@pytest.fixture(scope="session", autouse=True)
def _one_patch_of_a_launch():
    """Triton's interpreter patches its language for a launch, and again in each call of a device function.

    That is half of its time: calls find it patched.
    """
    if RUNNER != "interpreter":
        yield
        return
    from triton.runtime import interpreter

    modules = triton.language, triton.language.core
    patch_all, is_builtin = interpreter._patch_lang, triton.language.core.is_builtin

    def once(function):
        unpatched = [m for m in modules if is_builtin(m.load) and any(m is x for x in function.__globals__.values())]
        return patch_all(function) if unpatched else interpreter._LangPatchScope()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_patch_lang", once)
        yield


@pytest.fixture(autouse=True)
def _validation():
    """Validation by default: torch.compile switches it off for the whole process, and so a test for those after it."""
    torch.distributions.Distribution.set_default_validate_args(True)


@pytest.fixture
def runner():
    """What runs the kernels: "interpreter", "emulator" or "cuda"."""
    return RUNNER


@pytest.fixture
def device():
    """The device of a kernel test's tensors."""
    return torch.device("cuda" if RUNNER == "cuda" else "cpu")


ON_A_STUB = """
from gpu_host.gpu_host import Stub
import torch
stub = Stub()
from rsample.kernels.engines.triton import launch
launch.CONFIGS = launch.BROADCAST_CONFIGS = (launch.Config(unroll=1),)
"""


@pytest.fixture(params=["core", "Python"])
def short_way(request, monkeypatch):
    """Has small draws made by the native core, and by Python alone."""
    from rsample.kernels.draws import native_core

    if request.param == "Python":
        monkeypatch.setattr(native_core, "CORE", None)
    elif native_core.CORE is None:
        pytest.skip("there is no core: no compiler, or no headers of Python")


@pytest.fixture
def on_a_stub_gpu(tmp_path):
    """Runs a script on a driver that counts calls and executes nothing; returns what it prints, as lines.

    The script finds it as `stub`, a `gpu_host.Stub`. Hot loops are not unrolled, to compile faster.
    """
    if not _found("gpu_host") or torch.version.cuda is None:
        pytest.skip(NO_STUB)
    from gpu_host import gpu_host

    def run(script):
        file = tmp_path / "script.py"
        file.write_text(ON_A_STUB + textwrap.dedent(script))
        env = {**gpu_host.environment(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run([sys.executable, file], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("\n")[:-1]

    return run


@pytest.fixture
def on_an_emulated_gpu(on_a_stub_gpu):
    """Runs a script on that driver, and the kernels that Inductor generates in the emulator."""
    if not _found("gpu_emulator"):
        pytest.skip(NO_RUNNER)
    return lambda script: on_a_stub_gpu(f"import emulated_inductor, fused_draws\n{script}")


@pytest.fixture
def long_loops():
    """Keeps the launch configurations that users get."""


@pytest.fixture
def short_loops():
    """Does not unroll hot loops, as takes a third of the time to compile: for tests of what is done to each number."""


@pytest.fixture(autouse=True)
def _kernels(request, monkeypatch):
    """Runs a kernel test's launches, into outputs full of NaN (-1 where they are integers).

    Programs run through several tiles also where the sample is small. The hot loop is unrolled less, to compile
    faster, except in tests that ask for `long_loops`.
    """
    if request.node.get_closest_marker("kernel") is None and request.node.get_closest_marker("cuda") is None:
        yield
        return
    from rsample.kernels.engines.triton import row_tiles

    def poisoned(shape, dtype, device):
        return torch.full(tuple(shape), float("nan") if dtype.is_floating_point else -1, dtype=dtype, device=device)

    # Wherever kernels' outputs are allocated, which is by this one function.
    allocating = [
        m
        for m in list(sys.modules.values())
        if getattr(m, "device_empty", None) is launch.device_empty and m is not launch
    ]
    assert len(allocating) > 6
    for module in allocating:
        monkeypatch.setattr(module, "device_empty", poisoned)
    monkeypatch.setattr(launch, "PROGRAMS", 1)
    if "long_loops" not in request.fixturenames:
        unroll = 1 if "short_loops" in request.fixturenames else 2
        monkeypatch.setattr(row_tiles, "UNROLL", unroll)
        for name in ("CONFIGS", "BROADCAST_CONFIGS") if unroll == 1 else ("CONFIGS",):
            monkeypatch.setattr(launch, name, (launch.Config(unroll=unroll),))
    if RUNNER == "emulator":
        import gpu_emulator

        active = gpu_emulator.activate(detect_races=True, bounds="view", memory_stats=False)
    else:
        active = contextlib.nullcontext()
    with active:
        yield
