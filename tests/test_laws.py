"""Laws that are drawn by rejection: what is made of a description, by one that has all that it may have."""

import re

import pytest
import torch
from kernel_cases import packed

from rsample.kernels.engines.cpu import elementwise as compiled
from rsample.kernels.engines.eager import elementwise as reference
from rsample.kernels.engines.triton import loop_kernels
from rsample.kernels.formula.elementary import OPERATIONS
from rsample.kernels.formula.special import cotangent, fused_polynomial
from rsample.kernels.laws import known_laws
from rsample.kernels.laws.law import Law
from rsample.kernels.laws.rejection import cpp_code, device
from rsample.kernels.laws.rejection.law import (
    Arrivals,
    Once,
    Part,
    RejectionLaw,
    centered_candidates,
    first_of,
    noise_of,
    normal_candidates,
)
from rsample.kernels.laws.rejection.noise import Blocks, LoopNoise
from rsample.kernels.runtime.language import HAS_TRITON

DTYPES = [torch.float32, torch.float64]


def setup(a, b):
    return a, torch.rsqrt(a) + torch.reciprocal(b), torch.clamp(b, 0.2, 8.0)


def value(x, root, b):
    sums = torch.floor(8 * torch.abs(x)) + torch.exp(-(x * x)) * root - 0.1
    return sums + fused_polynomial(x, (0.1, 0.2, 0.3)) + 0.01 * cotangent(x) / b


def attempt(x, u, a, root, b):
    rejected = (u > 0.8) | (torch.log1p(u) < 0.05) | (torch.where(x <= -0.45, 1.0, u) >= 0.99)
    return value(x, root, b), rejected | (x == 0) | (u != u)


def squeeze(x, u, a, root, b):
    return value(x, root, b), (u > 0.7) | (u < 0.1) | (x <= -0.45)


def arrive(e, time, count, a, root, b):
    for each in e:
        time = time + each
        count = count + (time <= b).to(b.dtype)
    return time, count, time <= b


ALL = RejectionLaw(
    name="all",
    parameters=2,
    setup=setup,
    candidates=centered_candidates,
    attempt=attempt,
    finish=lambda value, a, root, b: (value * a, torch.sqrt(b)),
    squeeze=squeeze,
    arrivals=Arrivals(few=lambda a, root, b: b > 3, step=arrive),
    once=Once(some=lambda a, root, b: a < 0.5, finish=lambda e, value, a, root, b: (e - torch.log(a), value + root)),
)
LEAST = RejectionLaw("least", 1, lambda scale: (scale,), normal_candidates, lambda z, u, scale: (scale * z, u > 0.9))


def sum_of(noise, a, b):
    return noise[0] + noise[1] + noise[2] * b


# The second law's parameter is a result of the first, and only the last ones of all results are kept.
BOTH = (Part(ALL, lambda _, a, b: (a, 2 * b)), Part(LEAST, lambda made, a, b: (made[0] + b,), stream=2))
BOTH_LAW = Law("laws", ("a", "b"), noise_of("laws", 2, *BOTH, values=3), sum_of)
LAST_LAW = Law("last_of_laws", ("a", "b"), noise_of("last_of_laws", 2, *BOTH, values=1), lambda noise, a, b: noise + a)
SHIFT_LAW = Law("shifted", ("a", "b"), noise_of("shifted", 2, Part(LEAST, first_of), values=1), lambda x, a, b: x * b)
LAWS = {law.name: law for law in (BOTH_LAW, LAST_LAW, SHIFT_LAW)}
REJECTION_LAWS = {part.law.name: part.law for law in known_laws().values() for part in getattr(law.noise, "parts", ())}


def parameters(n, dtype, device="cpu"):
    generator = torch.Generator().manual_seed(2)
    return [(0.1 + 3 * torch.rand(n, generator=generator, dtype=torch.float64)).to(device, dtype) for _ in ("a", "b")]


def agree(ours, expected):
    """Equal to rounding, but for a few elements with a number within rounding of its threshold."""
    tolerance = 64 * torch.finfo(ours.dtype).eps
    close = torch.isclose(ours.cpu(), expected, rtol=tolerance, atol=tolerance)
    assert (~close).sum() <= 2, (ours.cpu()[~close], expected[~close])


# A part of a tile, and many tiles.
@pytest.mark.parametrize("n", [7, 4003])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_compiled_draws_are_the_reference(law, dtype, n):
    params = parameters(n, dtype)
    assert compiled.available(law, dtype)
    (ours,) = compiled.forward(law, packed(), params, (n,), dtype)
    (expected,) = reference.forward(law, packed(), params, (n,), dtype)
    agree(ours, expected)


@pytest.mark.kernel
@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_kernels_are_the_reference(law, dtype, device):
    params = parameters(519, dtype, device)
    (ours,) = loop_kernels.forward(law, (packed(),), params, (519,), dtype)
    (expected,) = reference.forward(law, packed(), [p.cpu() for p in params], (519,), dtype)
    agree(ours, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_law_above_has_every_operation(dtype):
    text = cpp_code.rejection_laws([BOTH_LAW.noise], dtype)
    for operation in (o.number for o in OPERATIONS.values() if o.number):
        pattern = re.escape(operation).replace(r"\{1\}", "{}").replace(r"\{2\}", "{}").replace(r"\{0\}", "{}")
        pattern = pattern.replace(r"\{\}", "{}").replace("{}", r"[-\w():<>.+]+")
        assert re.search(f"= {pattern};", text), operation


def test_elements_of_both_ways_and_both_ends_are_drawn():
    a, b = parameters(4003, torch.float64)
    given = ALL.setup(a, 2 * b)
    for mask in (ALL.arrivals.few(*given), ALL.once.some(*given)):
        assert 0.1 < mask.double().mean() < 0.9
    x, u = centered_candidates(Blocks.of_draw(packed(), (4003,), a.device), 0, 0, torch.float64)[0]
    assert 0.1 < ALL.attempt(x, u, *given)[1].double().mean() < 0.9


@pytest.mark.parametrize(
    "law", [law for law in (ALL, *REJECTION_LAWS.values()) if law.squeeze], ids=lambda law: law.name
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_squeeze_doubts_all_that_an_attempt_rejects(law, dtype):
    n = 200_000
    parameters = [torch.logspace(-2, 6, n, dtype=dtype) for _ in range(law.parameters)]
    given = law.setup(*parameters)
    for x, u in law.candidates(Blocks.of_draw(packed(), (n,), torch.device("cpu")), 0, 0, dtype):
        value, rejected = law.attempt(x, u, *given)
        same, doubtful = law.squeeze(x, u, *given)
        assert torch.equal(value, same)
        assert not (rejected & ~doubtful).any()
        if law.attempt_on_gpu is not None:
            same, again = law.attempt_on_gpu(x, u, *given)
            assert torch.equal(value, same)
            assert (rejected != again).sum() <= 2  # where u is within rounding of its threshold


def test_what_has_no_translation_is_refused():
    law = RejectionLaw("bad", 1, lambda a: (a,), centered_candidates, lambda x, u, a: (torch.erf(x), u > a))
    noise = noise_of("bad", 1, Part(law, first_of), values=1)
    with pytest.raises(NotImplementedError, match="erf"):
        cpp_code.rejection_laws([noise], torch.float32)
    if HAS_TRITON:
        with pytest.raises(NotImplementedError, match="erf"):
            device.source(noise, "bad")


def test_noises_of_a_law_have_it_once():
    noises = [law.noise for law in known_laws().values() if isinstance(law.noise, LoopNoise)]
    text = cpp_code.rejection_laws(noises, torch.float32)
    for name in REJECTION_LAWS:
        assert text.count(f"struct {name}_law {{") == 1
    assert text.count("static constexpr int VALUES") == len({noise.name for noise in noises if noise.parts})
