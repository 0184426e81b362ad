"""log_prob, cdf, icdf, moments, entropy: exact at the ends of the support, at extreme parameters, in every dtype."""

from __future__ import annotations

import math

import pytest
import torch
from examples import EXAMPLES
from scipy import stats
from torch.autograd import gradcheck

import rsample.distributions as dist
from rsample.kernels import use_backend

KEY = torch.tensor([3, 2**33], dtype=torch.uint64)
HALF = [torch.float16, torch.bfloat16]
WIDE = [torch.float32, torch.float64]


def outcome(distribution, method, *arguments):
    """What a method or property gives; None where torch has none."""
    try:
        found = getattr(distribution, method)
        return found(*arguments) if callable(found) else found
    except NotImplementedError:
        return None


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_half_precision_methods_are_those_of_float64(example, dtype):
    params = example.values((7,), dtype)
    narrow, wide = example.make(*params), example.make(*(p.double() for p in params))
    x, level = narrow.sample(key=KEY), torch.tensor([0.03, 0.2, 0.4, 0.5, 0.6, 0.8, 0.97], dtype=dtype)
    for method in ("log_prob", "cdf", "icdf", "entropy", "mean", "variance", "stddev"):
        if example.family == "LogNormal" and method in ("variance", "stddev"):
            continue  # torch exponentiates a rounded 15
        arguments = [{"log_prob": x, "cdf": x, "icdf": level}[method]] if method in ("log_prob", "cdf", "icdf") else []
        expected = outcome(wide, method, *(a.double() for a in arguments))
        ours = outcome(narrow, method, *arguments)
        assert (ours is None) == (expected is None), method
        if ours is not None:
            assert ours.dtype == dtype, method
            # torch's own methods round after each of some ten operations.
            tolerance = 32 * torch.finfo(dtype).eps
            expected = expected.to(dtype).double()
            torch.testing.assert_close(
                ours.double(), expected, rtol=tolerance, atol=tolerance, equal_nan=True, msg=method
            )


OWN = {
    "TanhNormal": lambda: dist.TanhNormal(0.3, 0.7, validate_args=False),
    "TruncatedNormal": lambda: dist.TruncatedNormal(0.3, 0.7, 0.0, 2.0, validate_args=False),
    "GeneralizedPareto": lambda: dist.GeneralizedPareto(0.0, 1.0, -0.25, validate_args=False),
    "GeneralizedPareto, no end": lambda: dist.GeneralizedPareto(0.0, 1.0, 0.0, validate_args=False),
    "Logistic": lambda: dist.Logistic(0.3, 0.7, validate_args=False),
    "ContinuousBernoulli": lambda: dist.ContinuousBernoulli(logits=0.7, validate_args=False),
}


@pytest.mark.parametrize("name", OWN)
def test_integers_and_bools_are_numbers_too(name):
    d = OWN[name]()
    for value in (torch.tensor([0, 1]), torch.tensor([False, True])):
        for method in (d.log_prob, d.cdf):
            assert torch.equal(method(value), method(value.float()))


@pytest.mark.parametrize("name", ["TanhNormal", "TruncatedNormal", "GeneralizedPareto", "GeneralizedPareto, no end"])
def test_nothing_is_likely_outside_of_the_support(name):
    d = OWN[name]()
    infinite = name == "GeneralizedPareto, no end"
    beyond = torch.tensor([math.inf] if infinite else [4.5, 1e30, math.inf])
    below = torch.tensor([-math.inf, -1e30, -1.5])
    for value, cdf in ((below, 0.0), (beyond, 1.0)):
        assert (d.log_prob(value) == -math.inf).all()
        assert (d.cdf(value) == cdf).all()
    assert d.log_prob(torch.tensor(math.nan)).isnan()


@pytest.mark.parametrize("value", [1.1, -0.1, math.inf, -math.inf, math.nan, 2])
def test_continuous_bernoulli_refuses_what_is_no_probability(value):
    for probs in (value, torch.tensor([0.5, value])):
        with pytest.raises(ValueError, match="probs"):
            dist.ContinuousBernoulli(probs)
        dist.ContinuousBernoulli(probs, validate_args=False)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("logit", [0.0, 1e-30, 1e-6, 0.019, 0.021, 0.24, 0.26, 0.9, 1.1, 20.0, 1e4, 1e8])
def test_continuous_bernoulli_to_many_digits(logit, dtype):
    mpmath = pytest.importorskip("mpmath")
    eps = torch.finfo(dtype).eps
    for logits in (torch.tensor(logit, dtype=dtype), torch.tensor(-logit, dtype=dtype)):
        d = dist.ContinuousBernoulli(logits=logits)
        with mpmath.workdps(60):
            m = mpmath.mpf(logits.item())
            flat = abs(m) < 1e-25
            log_norm = 0 if flat else mpmath.log(m / mpmath.expm1(m))
            mean = mpmath.mpf(1) / 2 if flat else 1 / (1 - mpmath.exp(-m)) - 1 / m
            variance = mpmath.mpf(1) / 12 if flat else 1 / m**2 - mpmath.exp(-m) / (1 - mpmath.exp(-m)) ** 2
            assert d.mean.item() == pytest.approx(float(mean), rel=8 * eps)
            assert d.variance.item() == pytest.approx(float(variance), rel=16 * eps)
            assert d.entropy().item() == pytest.approx(float(-m * mean - log_norm), rel=4 * eps, abs=4 * eps)
            for x in (0.0, 0.001, 0.3, 0.5, 0.999, 1.0):
                value = torch.tensor(x, dtype=dtype)
                x = mpmath.mpf(value.item())
                log_prob = m * x + log_norm
                cdf = x if flat else mpmath.expm1(m * x) / mpmath.expm1(m)
                icdf = x if flat else mpmath.log(1 - x + x * mpmath.exp(m)) / m
                assert d.log_prob(value).item() == pytest.approx(float(log_prob), rel=8 * eps, abs=8 * eps)
                # What is rounded is the exponent.
                assert d.cdf(value).item() == pytest.approx(float(cdf), rel=8 * eps * (1 + float(abs(m) * (1 - x))))
                assert d.icdf(value).item() == pytest.approx(float(icdf), rel=8 * eps)


def test_continuous_bernoulli_is_differentiable():
    logits = torch.tensor([-30.0, -0.5, -1e-3, 0.0, 0.01, 3.0], dtype=torch.float64, requires_grad=True)
    value = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda p, x: dist.ContinuousBernoulli(logits=p).cdf(x), (logits, value))
    assert gradcheck(lambda p, x: dist.ContinuousBernoulli(logits=p).icdf(x), (logits, value))
    for method in ("mean", "variance", "entropy"):
        assert gradcheck(lambda p, m=method: outcome(dist.ContinuousBernoulli(logits=p), m), logits)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("concentration", [1e-3, 0.5, 3.0, 49.0, 51.0, 1e3, 1e8, 1e20, 1e36])
def test_von_mises_density_at_any_concentration(concentration, dtype):
    mpmath = pytest.importorskip("mpmath")
    eps = torch.finfo(dtype).eps
    k = torch.tensor(concentration, dtype=dtype, requires_grad=True)
    x = torch.tensor(min(2.0, 2 / concentration**0.5), dtype=dtype)
    d = dist.VonMises(torch.zeros((), dtype=dtype), k)
    log_prob = d.log_prob(x)
    (slope,) = torch.autograd.grad(log_prob, k)
    with mpmath.workdps(40):
        m, versine = mpmath.mpf(k.item()), 2 * mpmath.sin(mpmath.mpf(x.item()) / 2) ** 2
        if concentration > 1e4:
            log_bessel, variance = -mpmath.log(2 * mpmath.pi * m) / 2 + 1 / (8 * m), 1 / (2 * m) + 1 / (8 * m**2)
        else:
            log_bessel = mpmath.log(mpmath.besseli(0, m)) - m
            variance = 1 - mpmath.besseli(1, m) / mpmath.besseli(0, m)
        assert log_prob.item() == pytest.approx(
            float(-m * versine - mpmath.log(2 * mpmath.pi) - log_bessel), rel=8 * eps
        )
        # Scaled Bessel functions cancel at concentrations below 50.
        assert d.variance.item() == pytest.approx(float(variance), rel=300 * eps)
        assert slope.item() == pytest.approx(float(variance - versine), rel=300 * eps)


@pytest.mark.parametrize("backend", ["reference", "compiled"])
@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("concentration", [3e15, 1e25, 1e36])
def test_von_mises_draws_are_normal_at_any_large_concentration(concentration, dtype, backend):
    with use_backend(backend):
        k = torch.full((20_000,), concentration, dtype=dtype)
        x = dist.VonMises(torch.zeros((), dtype=dtype), k).sample(key=KEY)
    p = stats.kstest(x.double().numpy() * concentration**0.5, "norm").pvalue
    assert p > 1e-4, p
