"""The interpreter of laws: the bits of the compiled loops, for every elementwise law, and each operation by itself."""

import logging
import math
import os
import subprocess
import sys

import pytest
import torch

from rsample.kernels.engines.cpu import cpp, interpreter
from rsample.kernels.engines.cpu import elementwise as compiled
from rsample.kernels.engines.eager import elementwise as reference
from rsample.kernels.formula import schedule
from rsample.kernels.formula.elementary import OPERATIONS, VECTOR, operands_of
from rsample.kernels.formula.trace import Function, Operation
from rsample.kernels.laws import known_laws
from rsample.kernels.laws.law import Law
from rsample.kernels.stream.noise import UNIFORM

LAWS = known_laws()
# Tiles that are whole, and a part of one.
NUMEL = 777


def key_of(seed, offset=0):
    return torch.tensor([seed, offset], dtype=torch.uint64)


def parameters(law, dtype, scalar=()):
    generator = torch.Generator().manual_seed(1)
    params = []
    for i, name in enumerate(law.parameters):
        u = torch.rand(() if i in scalar else NUMEL, generator=generator, dtype=torch.float64)
        ranges = {"loc": u * 4 - 2, "logits": u * 4 - 2, "low": u - 2, "high": u + 1, "concentration": u * 4 + 0.1}
        ranges |= {"total_count": (u * 60).floor(), "rate": u * 30}
        params.append(ranges.get(name, u * 0.8 + 0.1).to(dtype))
    return params


def outputs(law, dtype, params):
    given = [torch.linspace(0.5, 1.5, NUMEL, dtype=dtype) for _ in law.cotangents]
    drawn = list(compiled.forward(law, key_of(3, 2**64 - 3), params, (NUMEL,), dtype))
    if law.cotangents:
        drawn += compiled.backward(law, key_of(3, 2**64 - 3), given, params, [True] * len(params))
    return drawn


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LAWS)
def test_bits_are_those_of_the_compiled_loop(name, dtype, monkeypatch):
    law = LAWS[name]
    functions = compiled._interpret(law, dtype)
    assert functions is not None
    for scalar in ((), (0,)):
        params = parameters(law, dtype, scalar)
        results = []
        for run in (functions, compiled._library(law, dtype)):
            monkeypatch.setitem(compiled._libraries, (law.name, dtype), run)
            results.append(outputs(law, dtype, params))
        for ours, loops in zip(*results, strict=True):
            assert torch.equal(ours.reshape(-1).view(torch.uint8), loops.reshape(-1).view(torch.uint8))
        assert not any(torch.isnan(x).any() for x in results[0])


# Parameters of each of the cases that a law's formula has: elements of one case skip what counts in others only.
OF_CASES = {
    "truncated_normal": [
        (0.0, 1.0, -0.1, 0.11),  # a narrow interval
        (0.0, 1.0, -2.0, 1.0),  # with loc inside
        (0.0, 1.0, 2.0, 3.0),  # without
        (0.0, 1.0, -4.0, -1.0),  # mirrored
        (0.0, 1.0, 40.0, 50.0),  # far out
    ],
    "generalized_pareto": [(0.0, 1.0, 0.0), (0.0, 1.0, 1e-4), (1.0, 2.0, 0.7), (1.0, 2.0, -0.7)],
    "continuous_bernoulli_logits": [(0.0,), (1e-3,), (2.0,), (-30.0,)],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("least", [1, schedule._WORTH_A_JUMP])
@pytest.mark.parametrize("name", OF_CASES)
def test_what_counts_in_no_lane_is_left_out(name, least, dtype, monkeypatch):
    """Elements of one case together, and of all cases side by side."""
    law, cases = LAWS[name], OF_CASES[name]
    monkeypatch.setattr(schedule, "_WORTH_A_JUMP", least)
    apart = NUMEL // 2 // len(cases)
    chosen = [i // apart for i in range(apart * len(cases))]
    chosen += [(7 * i + i // 5) % len(cases) for i in range(NUMEL - len(chosen))]
    params = [torch.tensor([cases[c][j] for c in chosen], dtype=dtype) for j in range(len(law.parameters))]
    # The cases of generalized Pareto are too cheap to be worth a jump.
    jumps = "if (rsample::vectors" in compiled._source(law, dtype)
    assert jumps == (least == 1 or name != "generalized_pareto")
    runs = [compiled._interpret(law, dtype), compiled._build(law, dtype)]
    monkeypatch.setattr(schedule, "_WORTH_A_JUMP", 10**9)
    runs.append(compiled._interpret(law, dtype))
    results = []
    for run in runs:
        monkeypatch.setitem(compiled._libraries, (law.name, dtype), run)
        results.append(outputs(law, dtype, params))
    for drawn in zip(*results, strict=True):
        interpreted, compiled_loop, whole = (x.reshape(-1).view(torch.uint8) for x in drawn)
        assert torch.equal(interpreted, whole)
        assert torch.equal(compiled_loop, whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", VECTOR)
def test_every_operation(name, dtype):
    """Each against torch, of numbers in [1/2, 3/2), of which some are equal."""
    u = torch.rand(300, generator=torch.Generator().manual_seed(0), dtype=torch.float64).add(0.5).to(dtype)
    x, y, z = u, torch.where(u > 1, u, 1.25), u.flip(0)
    steps = [Operation("input", (i,)) for i in range(3)]
    if name in ("where", "or"):
        steps += [Operation("lt", (0, 1)), Operation("eq", (0, 1))]
        operands = (3, 1, 2) if name == "where" else (3, 4)
        expected = torch.where(x < y, y, z) if name == "where" else ((x < y) | (x == y))
    else:
        operands = tuple(range(operands_of(name)))
        expected = (OPERATIONS[name].torch or getattr(torch, name))(*(x, y, z)[: len(operands)])
    steps.append(Operation(name, operands))
    result = len(steps) - 1
    if expected.dtype == torch.bool:
        steps.append(Operation("where", (result, 1.0, 0.0)))
        result, expected = len(steps) - 1, expected.to(dtype)
    run = interpreter.interpreted(Function(steps, [result], 3), UNIFORM, dtype)
    out = torch.full_like(x, math.nan)
    fields = [field for t in (x, y, z) for field in (t.data_ptr(), 1)] + [out.data_ptr(), 0]
    run(compiled._packer(len(fields))(1, 0, 24, 0, x.numel(), 0, *fields))
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(out, expected, rtol=tolerance, atol=tolerance)


def test_what_has_no_room_is_compiled():
    def many(u, *params):
        return sum(p * (i + 0.1) for i, p in enumerate(params)) + u

    names = tuple(f"p{i}" for i in range(20))
    law = Law("many_inputs", names, UNIFORM, many)
    assert compiled._interpret(law, torch.float32) is None
    params = [torch.full((), float(i)) for i in range(20)]
    ours = compiled.forward(law, key_of(1), params, (9,), torch.float32)[0]
    torch.testing.assert_close(ours, reference.forward(law, key_of(1), params, (9,), torch.float32)[0])


# -------------------------------------------------------------------------------------------------- what is kept of it


def run(script, **environment):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


# Prints how many libraries a draw has waited for.
FIRST = """
import logging
import rsample.distributions as dist
from rsample.kernels.draws import native_core
native_core.begin = lambda: None  # whose build is another, and goes on where the process has ended
lines = []
logger = logging.getLogger("rsample")
logger.setLevel(logging.INFO)
logger.addFilter(lambda record: lines.append(record.getMessage()))
dist.Normal(0.0, 1.0).sample(), dist.Laplace(0.0, 1.0).sample((40,))
print(sum(line.startswith("compiled C++ for small draws in ") for line in lines))
"""


def test_a_second_process_builds_nothing(tmp_path, monkeypatch):
    for built in ("1", "0"):
        assert run(FIRST, RSAMPLE_CACHE_DIR=str(tmp_path)) == [built]
    monkeypatch.setenv("RSAMPLE_CACHE_DIR", str(tmp_path))
    library = cpp.whole(cpp.place(interpreter._source(torch.float32, loops=False)))
    # What was cut off is built again.
    library.write_bytes(library.read_bytes()[:1000])
    assert run(FIRST, RSAMPLE_CACHE_DIR=str(tmp_path)) == ["1"]


def test_a_folder_that_nothing_can_be_kept_in(tmp_path):
    (tmp_path / "file").write_text("")
    assert run(FIRST, RSAMPLE_CACHE_DIR=str(tmp_path / "file" / "folder")) == ["1"]


def test_a_process_without_a_home(monkeypatch):
    monkeypatch.delenv("RSAMPLE_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cpp.Path, "home", home)
    assert cpp.build('extern "C" int rsample_homeless() { return 7; }\n', "a test").rsample_homeless() == 7


def test_a_build_that_is_waited_for_is_announced_and_logged(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("RSAMPLE_CACHE_DIR", str(tmp_path))
    with caplog.at_level(logging.INFO, "rsample"):
        assert cpp.build('extern "C" int rsample_answer() { return 42; }\n', "a test").rsample_answer() == 42
    announced, line = caplog.messages
    assert announced == f"rsample compiles C++ for a test, once: it is kept in {tmp_path}"
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]
    assert line.startswith("compiled C++ for a test in ")
    assert str(tmp_path) in line
