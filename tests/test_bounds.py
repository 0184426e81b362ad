"""Samples stay inside of their support after rounding, and finite, at parameters that press them against its ends."""

import math

import pytest
import torch

import rsample.distributions as dist
from rsample.kernels import use_backend

KEY = torch.tensor([77, 2**40], dtype=torch.uint64)
N = 2**16
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture(params=["reference", "compiled"], autouse=True)
def backend(request):
    with use_backend(request.param):
        yield request.param


def tensor(value, dtype):
    return torch.tensor(value, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniform_never_returns_high(dtype):
    eps = torch.finfo(dtype).eps
    for low, high in [(0.0, 1.0), (1.0, 1 + 2 * eps), (100.0, 101.0), (-1.0, 0.0), (-2.0, -1.0), (-1 - eps, -1.0)]:
        low, high = tensor(low, dtype), tensor(high, dtype)
        if low == high:
            continue
        u = dist.Uniform(low, high).sample((N,), key=KEY)
        assert (u >= low).all()
        assert (u < high).all()
        dense = dist.Uniform(low.expand(N).clone(), high.expand(N).clone()).sample(key=KEY)
        assert torch.equal(dense, u)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [1e-3, 1.0, 1e3])
def test_exponential_is_neither_0_nor_infinite(dtype, rate):
    x = dist.Exponential(tensor(rate, dtype)).sample((N,), key=KEY)
    assert (x > 0).all()
    assert torch.isfinite(x).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_heavy_tails_are_finite(dtype):
    for d in (
        dist.Cauchy(tensor(0.0, dtype), tensor(1e4, dtype)),
        dist.HalfCauchy(tensor(1e4, dtype)),
        dist.LogNormal(tensor(0.0, dtype), tensor(50.0, dtype)),
        dist.Pareto(tensor(1.0, dtype), tensor(0.01, dtype)),
        dist.Weibull(tensor(1.0, dtype), tensor(0.01, dtype)),
        dist.GeneralizedPareto(tensor(0.0, dtype), tensor(1.0, dtype), tensor(50.0, dtype)),
        dist.Geometric(tensor(1e-4, dtype)),
    ):
        x = d.sample((N,), key=KEY)
        assert torch.isfinite(x).all(), d
        assert d.support.check(x).all(), d


def most(dtype):
    return torch.finfo(dtype).max


# Parameters, of the greatest number of the dtype, that press samples beyond it.
BEYOND = {
    "Laplace": lambda m: (dist.Laplace, (0, m)),
    "Laplace, off centre": lambda m: (dist.Laplace, (-m, m / 4)),
    "Logistic": lambda m: (dist.Logistic, (0, m)),
    "HalfNormal": lambda m: (dist.HalfNormal, (m,)),
    "HalfCauchy": lambda m: (dist.HalfCauchy, (m,)),
    "TruncatedNormal": lambda m: (dist.TruncatedNormal, (0, m, 0, math.inf)),
    "GeneralizedPareto": lambda m: (dist.GeneralizedPareto, (m / 2, m / 2, 0)),
    "LogNormal": lambda m: (dist.LogNormal, (m, 1)),
    "Pareto": lambda m: (dist.Pareto, (m / 2, 0.5)),
    "Weibull": lambda m: (dist.Weibull, (m, 0.5)),
    "StudentT": lambda m: (dist.StudentT, (2, 0, m)),
    "LogitRelaxedBernoulli": lambda m: (dist.LogitRelaxedBernoulli, (4 / m, 0.5)),
    "Geometric": lambda m: (dist.Geometric, (1 / m,)),
    "Geometric, logits": lambda m: (lambda x: dist.Geometric(logits=x), (-750.0,)),
    "NegativeBinomial": lambda m: (lambda n, x: dist.NegativeBinomial(n, logits=x), (5, 750.0)),
    "Poisson": lambda m: (dist.Poisson, (m,)),
    "Binomial": lambda m: (dist.Binomial, (m, 0.75)),
    "Cauchy": lambda m: (dist.Cauchy, (0, m)),
    "Gumbel": lambda m: (dist.Gumbel, (m / 2, m)),
    "Exponential": lambda m: (dist.Exponential, (4 / m,)),
}


# The others stay below in float16 alone, whose greatest number is 65504: in wider dtypes the comparison would cost an
# instruction per sample.
EVERY_DTYPE = {"GeneralizedPareto", "LogNormal", "Pareto", "Weibull", "StudentT"}
EVERY_DTYPE |= {"Geometric, logits", "NegativeBinomial", "Poisson", "Binomial"}


@pytest.mark.parametrize(
    ("name", "dtype"), [(n, t) for n in BEYOND for t in DTYPES if t == torch.float16 or n in EVERY_DTYPE], ids=str
)
def test_samples_beyond_the_greatest_number_are_that_number(name, dtype, backend):
    make, params = BEYOND[name](most(dtype))
    x = make(*(tensor(p, dtype) for p in params)).sample((2**12,), key=KEY)
    assert torch.isfinite(x).all()
    assert x.abs().max() > 0.5 * most(dtype) or name == "Geometric, logits"


@pytest.mark.parametrize("dtype", DTYPES)
def test_generalized_pareto_ends_where_its_concentration_is_negative(dtype):
    """At the end loc - scale / c of the exact formula, which is hardly ever a number of the dtype."""
    loc = tensor([0.0, 0.3, -7.0, 100.0, 1.0], dtype)[:, None, None]
    scale = tensor([0.1, 1.0, 3.3], dtype)[:, None]
    concentration = tensor([-0.3, -0.5, -0.9, -1.5, -4.0], dtype)
    d = dist.GeneralizedPareto(loc, scale, concentration)
    x = d.sample((N // 4,), key=KEY)
    wide = [p.to(torch.float64) for p in (d.loc, d.scale, d.concentration)]
    end = wide[0] - wide[1] / wide[2]
    # The end itself is rounded in float32 and float64, by up to half an ulp of each of its terms.
    slack = 0.0 if dtype.itemsize == 2 else torch.finfo(dtype).eps * (wide[0].abs() - wide[1] / wide[2])
    assert (x.double() <= end + slack).all()
    assert (x >= loc).all()
    if dtype.itemsize == 2:
        # Not farther from it than need be: the density is infinite there for c < -1.
        assert (x.double().amax(0) > end - 2.1 * torch.finfo(dtype).eps * end.abs())[..., 3:].all()
    assert d.support.check(x).all()
    assert not d.log_prob(x).isnan().any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_generalized_pareto_has_no_end_where_its_distance_overflows(dtype):
    """Then it is an exponential distribution to rounding."""
    scale = tensor(1e3, dtype)
    concentration = tensor(-torch.finfo(dtype).smallest_normal, dtype)
    d = dist.GeneralizedPareto(tensor(0.0, dtype), scale, concentration)
    x = d.sample((N,), key=KEY)
    exponential = dist.Exponential(torch.ones((), dtype=dtype)).sample((N,), key=KEY)
    # Each is rounded once, the product again; small numbers of float16 to a multiple of the second tolerance.
    eps, normal = torch.finfo(dtype).eps, torch.finfo(dtype).smallest_normal
    torch.testing.assert_close(x, scale * exponential, rtol=2 * eps, atol=1e3 * eps * normal)
    assert d.support.check(x).all()
    assert torch.isfinite(d.log_prob(x)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_unit_intervals_are_open(dtype):
    for d in (
        dist.RelaxedBernoulli(tensor(0.05, dtype), logits=tensor(0.0, dtype)),
        dist.RelaxedBernoulli(tensor(0.5, dtype), probs=tensor(0.99, dtype)),
        dist.Kumaraswamy(tensor(0.02, dtype), tensor(0.02, dtype)),
        dist.ContinuousBernoulli(logits=tensor(200.0, dtype)),
        dist.ContinuousBernoulli(logits=tensor(-200.0, dtype)),
    ):
        x = d.sample((N,), key=KEY)
        assert (x > 0).all(), d
        assert (x < 1).all(), d
    x = dist.TanhNormal(tensor(0.0, dtype), tensor(30.0, dtype)).sample((N,), key=KEY)
    assert (x.abs() < 1).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_bounds_keep_nan(dtype):
    nan = tensor(math.nan, dtype)
    for d in (
        dist.Uniform(tensor(0.0, dtype), nan, validate_args=False),
        dist.LogNormal(nan, tensor(1.0, dtype), validate_args=False),
        dist.TanhNormal(nan, tensor(1.0, dtype), validate_args=False),
        dist.Exponential(nan, validate_args=False),
    ):
        assert d.sample((100,), key=KEY).isnan().all(), d


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_density_of_a_saturated_policy_is_exact(dtype):
    """Where tanh(z) rounds to 1 the fused density still knows z: log N(z) + 2 |z| - 2 log 2 to first order."""
    loc = tensor([20.0, -20.0], dtype).requires_grad_()
    scale = tensor(0.5, dtype).requires_grad_()
    x, log_prob = dist.TanhNormal(loc, scale).rsample_with_log_prob((1000,), key=KEY)
    z = dist.Normal(loc, scale).rsample((1000,), key=KEY)
    expected = torch.distributions.Normal(loc, scale).log_prob(z) + 2 * z.abs() - math.log(4)
    assert (x.abs() >= 1 - torch.finfo(dtype).eps).all()
    torch.testing.assert_close(log_prob, expected, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(log_prob.sum(), (loc, scale)),
        torch.autograd.grad(expected.sum(), (loc, scale)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)  # sums of 1000 terms that cancel
    assert torch.isfinite(dist.TanhNormal(loc, scale).log_prob(torch.ones(2, dtype=dtype))).all()
