"""Parameters from the smallest subnormal number to the greatest finite one: draws and gradients are never NaN."""

import itertools
import math

import pytest
import torch
from every_class import CLASSES, make, params
from torch.distributions import constraints

import rsample.distributions as dist
from rsample.kernels import use_backend

KEY = torch.tensor([20261129, 9], dtype=torch.uint64)
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def positive(dtype: torch.dtype) -> list[float]:
    info = torch.finfo(dtype)
    middle = [1e-200, 1e-154, 1e-38, 1e-30, 1e-19, 1e-3, 1.0, 3.0, 1e3, 1e20, 1e154]
    inside = [x for x in middle if info.smallest_normal < x < info.max]
    return [info.smallest_normal * info.eps, info.smallest_normal, *inside, info.max / 8, info.max]


def real(dtype: torch.dtype) -> list[float]:
    magnitudes = [0.0, *positive(dtype)[::3], torch.finfo(dtype).max]
    return [-x for x in magnitudes] + magnitudes


def probability(dtype: torch.dtype) -> list[float]:
    info = torch.finfo(dtype)
    return [0.0, info.smallest_normal * info.eps, info.smallest_normal, 1e-3, 0.5, 1 - info.eps, 1.0]


KINDS = {constraints.positive: positive, constraints.real: real, constraints.unit_interval: probability}
KINDS[constraints.nonnegative] = positive


def kinds(cls):
    """Which values each parameter takes, None where it is none of the kinds."""
    d = make(cls, cls._examples[0], params((1,)))
    return [KINDS.get(d.arg_constraints.get(name)) for name in d._draw_with()[0].law.parameters]


# The law's, not the class', as zeros and subnormal numbers turn up in programs.
FAMILIES = {cls.__name__: kinds(cls) for cls in CLASSES if hasattr(cls, "_samplers")}
FAMILIES = {name: values for name, values in FAMILIES.items() if all(values)}
FAMILIES |= {"StudentT": (positive,), "Dirichlet": (positive, positive, positive), "Uniform": (real, real)}
# Of these only float16 samples are kept at the greatest number; those of Normal and StudentT nowhere. The page
# distributions/README.md says so under Limits.
FINITE_IN_FLOAT16 = {"Laplace", "Logistic", "Cauchy", "Gumbel", "HalfNormal", "HalfCauchy", "LogitRelaxedBernoulli"}
FINITE_IN_FLOAT16 |= {"Exponential", "Geometric"}
FINITE = FAMILIES.keys() - FINITE_IN_FLOAT16 - {"Normal", "StudentT"}


@pytest.mark.parametrize("backend", ["reference", "compiled"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_no_draw_and_no_gradient_is_nan(family, dtype, backend):
    rows = torch.tensor(list(itertools.product(*(values(dtype) for values in FAMILIES[family]))), dtype=torch.float64)
    if family == "Uniform":
        rows = rows[rows[:, 0] < rows[:, 1]]
    params = rows.to(dtype).requires_grad_()
    cls = getattr(dist, family)
    with use_backend(backend):
        distribution = cls(*((params,) if family == "Dirichlet" else params.unbind(-1)), validate_args=False)
        if not distribution.has_rsample:
            x = distribution.sample(key=KEY)
            assert not torch.isnan(x).any()
            assert torch.isfinite(x).all() or (family in FINITE_IN_FLOAT16 and dtype != torch.float16)
            return
        x = distribution.rsample(key=KEY)
        (gradient,) = torch.autograd.grad(x[..., 0].sum() if family == "Dirichlet" else x.sum(), params)
    if family in FINITE or (family in FINITE_IN_FLOAT16 and dtype == torch.float16):
        assert torch.isfinite(x).all()
    assert not torch.isnan(x).any()
    assert not torch.isnan(gradient).any()
    if family in ("Beta", "Dirichlet"):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("backend", ["reference", "compiled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_beyond_the_usual_range(dtype, backend):
    tiny = torch.tensor([1e-19, 1e-30], dtype=dtype, requires_grad=True)
    huge = torch.tensor([1e20, 1e30], dtype=dtype, requires_grad=True)
    with use_backend(backend):
        for other in (tiny, torch.ones(2, dtype=dtype)):
            x = dist.Beta(tiny, other).rsample(key=KEY)
            # x is 0 or 1 to rounding, and stays.
            assert torch.equal(torch.autograd.grad(x.sum(), tiny)[0], torch.zeros_like(tiny))
        x = dist.Gamma(tiny, torch.ones((), dtype=dtype)).rsample(key=KEY)
        assert torch.equal(torch.autograd.grad(x.sum(), tiny)[0], torch.zeros_like(tiny))
        # dg/da = 1 + z / (2 sqrt(a)) + ...
        x = dist.Gamma(huge, torch.ones((), dtype=dtype)).rsample(key=KEY)
        torch.testing.assert_close(torch.autograd.grad(x.sum(), huge)[0], torch.ones_like(huge))


@pytest.mark.parametrize("backend", ["reference", "compiled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_an_interval_as_long_as_the_numbers_go(dtype, backend):
    end = torch.full((20_000,), torch.finfo(dtype).max, dtype=dtype)
    with use_backend(backend):
        x, log_prob = dist.Uniform(-end, end).rsample_with_log_prob(key=KEY)
    # Kolmogorov and Smirnov's distance from uniform, at p = 1e-6 (2.69 / sqrt(n)) and half a step of bfloat16's noise.
    u = (x.double() / end.double() + 1).sort().values / 2
    grid = torch.arange(1, 20_001, dtype=torch.float64) / 20_000
    assert (u - grid).abs().max() < 2.69 / 20_000**0.5 + 2**-9
    exact = -torch.log(end.double()) - math.log(2)
    torch.testing.assert_close(log_prob.double(), exact, rtol=4 * torch.finfo(dtype).eps, atol=0)


def test_no_success_is_possible():
    for backend in ("reference", "compiled"):
        with use_backend(backend):
            assert (dist.Geometric(torch.zeros(37), validate_args=False).sample(key=KEY) > 1e38).all()
