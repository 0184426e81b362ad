"""Triton functions made from torch references: their text, their file, and what every operation of theirs computes."""

import inspect
import math
import os
import re
import subprocess
import sys
import traceback

import pytest
import torch
from kernel_cases import packed, values

from rsample.kernels import show
from rsample.kernels.engines.eager import elementwise as reference
from rsample.kernels.engines.triton import elementwise
from rsample.kernels.formula import device_functions
from rsample.kernels.formula.device_functions import device_function, source
from rsample.kernels.formula.special import sin_of_quarter
from rsample.kernels.laws import known_laws
from rsample.kernels.laws.law import Law
from rsample.kernels.laws.rejection.noise import LoopNoise
from rsample.kernels.runtime.language import HAS_TRITON
from rsample.kernels.stream.noise import UNIFORM

if not HAS_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)

EVERY = known_laws()
LAWS = {name: law for name, law in EVERY.items() if not isinstance(law.noise, LoopNoise)}

TEXTS = """
import hashlib, sys, torch
sys.path.append("bench")
from rsample.kernels.laws import known_laws
from rsample.kernels.formula.device_functions import source
from rsample.kernels.laws.rejection import cpp_code, device
from rsample.kernels.laws.rejection.noise import LoopNoise
for name, law in known_laws().items():
    text = ""
    if not isinstance(law.noise, LoopNoise):
        text = source(name, law.reference, ("noise", *law.parameters), values=law.noise.values)
    elif law.noise.parts:
        text = device.source(law.noise, name) + cpp_code.rejection_laws([law.noise], torch.float64)
    print(name, hashlib.sha256(text.encode()).hexdigest())
"""


def started(program, **environment):
    """What a program prints."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_all_processes_make_the_same_text():
    ours, theirs = (started(TEXTS, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert len(set(ours)) > 35
    assert theirs == ours


def test_nothing_is_made_before_a_kernel_is_asked_for(tmp_path):
    program = """
import sys, rsample.distributions
from rsample.kernels.draws import native_core
native_core.begin = lambda: None  # its build would go on where the process has ended
rsample.distributions.Weibull(1.0, 1.0).rsample()
print([name for name in sys.modules if name == "rsample.weibull_transform"])
"""
    assert started(program, RSAMPLE_CACHE_DIR=str(tmp_path)) == ["[]"]
    assert not (tmp_path / "triton").exists()


def half(u, x):
    return u * 0.5 + torch.exp(x)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes the function of `half` as a process does that keeps it in `tmp_path`, or where it is told to."""

    def make(folder=tmp_path):
        monkeypatch.setenv("RSAMPLE_CACHE_DIR", str(folder))
        device_function.cache_clear()
        return device_function("half", half, ("noise", "x"))

    yield make
    device_function.cache_clear()
    sys.modules.pop("rsample.half")


def test_a_traceback_shows_the_line_in_a_file_that_is_kept(made, tmp_path):
    function = made().fn
    (file,) = (tmp_path / "triton").iterdir()
    assert inspect.getsourcefile(function) == str(file)
    assert file.read_text(encoding="utf-8") == source("half", half, ("noise", "x"))
    try:
        function(0.5, 1.0, False)  # outside of a kernel
    except Exception:
        shown = traceback.format_exc()
    assert str(file) in shown
    assert "exp(x, HARDWARE)" in shown


def test_a_file_that_was_cut_off_is_written_again(made, tmp_path):
    made()
    (file,) = (tmp_path / "triton").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    made()
    assert [f.read_bytes() for f in (tmp_path / "triton").iterdir()] == [whole]


def test_where_nothing_can_be_kept_the_file_is_a_temporary_one(made, tmp_path):
    (tmp_path / "file").touch()
    function = made(tmp_path / "file" / "folder").fn
    assert str(tmp_path) not in inspect.getsourcefile(function)
    assert "torch reference of half" in inspect.getsource(inspect.getmodule(function))


def test_what_has_no_translation_is_refused():
    with pytest.raises(NotImplementedError, match="erf"):
        source("f", lambda u, x: torch.erf(x), ("noise", "x"))
    with pytest.raises(NotImplementedError, match="x is read"):
        source("f", lambda u, grad, x: (grad * x,), ("noise", "grad", "x"), 2)


def choices(u, x, y):
    chosen = torch.where((u < 0.3) | (u >= x), 0.5, 0.75).to(u.dtype)  # of two numbers torch makes the default dtype
    chosen = chosen + torch.where(u > y, x, u) + torch.where(u < 1.0, u, x)  # steps 0 and 1 beside the numbers
    return chosen + torch.where(u > y, x, 0.1) + torch.where(u <= y, 0.7, x) + (u == y).to(u.dtype)


def bounds(u, x, y):
    return torch.clamp(u, 0.3, 0.7) + torch.clamp(x, -math.inf, 0.4) + torch.clamp(y, 0.6, math.inf)


def functions(u, x, y):
    logarithms = torch.log(x) + torch.log2(y) + torch.log1p(x)
    return torch.exp(u) + logarithms + torch.sqrt(y) + torch.expm1(u) + torch.tanh(u) + torch.atan(x)


# Each with numbers that are not float32's, in every place that an operation has for one.
FORMULAS = {
    "sums": lambda u, x, y: (0.1 + u) + (x - 0.7) + (0.3 - y) + (u - x),
    "sums of products": lambda u, x, y: (u * x + y) + (x * y - u) + (u - x * y) + (0.1 - u * 0.7) + (u * 0.1 - 0.3),
    "a product in two sums": lambda u, x, y: (u * x + 1.1) / (u * x - 1.3),
    "a product that is read": lambda u, x, y: (u * x + y) * torch.exp(u * x) + torch.addcmul(x, u, y),
    "quotients": lambda u, x, y: u / x + 0.1 / y + x / 3.0 + torch.reciprocal(x) + 1 / y,
    "bounds": bounds,
    "extremes": lambda u, x, y: torch.maximum(u, x) + torch.minimum(u, y) + torch.where(u < 0.3, u, 0.3),
    "choices": choices,
    "signs": lambda u, x, y: torch.copysign(x, u - 0.5) + torch.abs(u - 0.3) - torch.floor(7.1 * u) + (-y),
    "constants": lambda u, x, y: torch.zeros_like(u) + torch.ones_like(u) * x,
    "functions": functions,
    "sines": lambda u, x, y: sin_of_quarter(u) * sin_of_quarter(x),
    "cotangent": lambda u, x, y: torch.reciprocal(torch.tan(math.pi * (0.5 * x))),
    "the least number": lambda u, x, y: torch.where(u < x, torch.finfo(u.dtype).tiny, u) / torch.finfo(u.dtype).tiny,
}


@pytest.mark.kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FORMULAS)
def test_every_operation(name, dtype, device):
    law = Law(f"formula_{list(FORMULAS).index(name)}", ("x", "y"), UNIFORM, FORMULAS[name])
    params = [values(700, dtype, device, seed=seed) for seed in (1, 2)]
    ours = elementwise.forward(law, (packed(),), params, (700,), dtype)[0].cpu()
    theirs = reference.forward(law, packed(), [p.cpu() for p in params], (700,), dtype)[0]
    torch.testing.assert_close(ours, theirs, rtol=32 * torch.finfo(dtype).eps, atol=32 * torch.finfo(dtype).eps)


def test_the_formulas_above_hold_every_operation():
    texts = "".join(source("f", formula, ("noise", "x", "y")) for formula in FORMULAS.values())
    for function in device_functions._FUNCTIONS:
        assert f"{function}(" in texts


def test_a_formula_that_is_not_chosen_gets_whatever_there_is():
    def shielded(u, x):
        near = torch.abs(x) < 0.5
        large = torch.where(near, 0.5, torch.clamp(x, -math.inf, 80.0))
        below = torch.where(u < 0.7, torch.clamp(u, -math.inf, 0.9), torch.clamp(u, 0.6, math.inf))
        return torch.where(near, x * torch.where(near, x, 0.0), torch.exp(large) / large) + below

    text = source("f", shielded, ("noise", "x"))
    assert text.count("minimum(") == 1  # that of 80
    assert "maximum(" not in text
    assert text.count("tl.where(") == 2

    def kept(u, x):
        return torch.where(u < 0.7, torch.clamp(u, -math.inf, 0.6), torch.clamp(u, 0.8, math.inf)) * torch.clamp(
            x, 0, 1
        )

    text = source("f", kept, ("noise", "x"))
    assert text.count("minimum(") == text.count("maximum(") == 2


def test_what_is_made_of_a_law_can_be_seen(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["show", "weibull"])
    show.main()
    text = capsys.readouterr().out
    assert inspect.getsource(LAWS["weibull"].reference) in text
    assert source("weibull_transform", LAWS["weibull"].reference, ("noise", "scale", "concentration")) in text
    assert "struct weibull_score_steps {" in text
    assert re.search(r"forward, dense: [\d.]+ per sample, \d+ registers\n", text)
    monkeypatch.setattr(sys, "argv", ["show"])
    show.main()
    assert capsys.readouterr().out.split() == sorted(EVERY)
