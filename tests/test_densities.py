"""log_prob, cdf, icdf, moments, entropy: exact at the ends of the support, at extreme parameters, in every dtype."""

from __future__ import annotations

import math

import pytest
import torch
from examples import EXAMPLES
from scipy import stats
from torch.autograd import gradcheck, gradgradcheck

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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, *WIDE], ids=str)
@pytest.mark.parametrize(
    "family", ["Bernoulli", "BernoulliStraightThrough", "Binomial", "Geometric", "NegativeBinomial"]
)
def test_outcomes_of_probability_0_and_1(family, dtype):
    """log_prob is exactly -inf or 0, its derivative with respect to probs the one-sided one, 0 at -inf."""
    total = {"Binomial": [3], "NegativeBinomial": [torch.tensor(3.0, dtype=dtype)]}.get(family, [])
    cls = getattr(dist, family)
    # probs, value, log_prob, derivative
    cases = [(0.0, 0.0, 0.0, -1.0), (0.0, 1.0, -math.inf, 0.0), (1.0, 1.0, 0.0, 1.0), (1.0, 0.0, -math.inf, 0.0)]
    if family == "Binomial":
        cases = [(0.0, 0.0, 0.0, -3.0), (0.0, 2.0, -math.inf, 0.0), (1.0, 3.0, 0.0, 3.0), (1.0, 2.0, -math.inf, 0.0)]
    if family == "Geometric":
        cases = [(1.0, 0.0, 0.0, 1.0), (1.0, 2.0, -math.inf, 0.0)]
    if family == "NegativeBinomial":
        cases = [(0.0, 0.0, 0.0, -3.0), (0.0, 1.0, -math.inf, 0.0)]
    for p, value, expected, slope in cases:
        probs = torch.tensor(p, dtype=dtype, requires_grad=True)
        log_prob = cls(*total, probs).log_prob(torch.tensor(value, dtype=dtype))
        assert log_prob.item() == expected
        assert log_prob.dtype == dtype
        assert torch.autograd.grad(log_prob, probs)[0].item() == slope
        logits = torch.tensor(math.inf if p else -math.inf, dtype=dtype, requires_grad=True)
        log_prob = cls(*total, logits=logits).log_prob(torch.tensor(value, dtype=dtype))
        assert log_prob.item() == expected
        assert torch.autograd.grad(log_prob, logits)[0].item() == 0


@pytest.mark.parametrize("dtype", WIDE, ids=str)
@pytest.mark.parametrize("logit", [-300.0, -60.0, -20.0, -1.0, 0.0, 2.0, 20.0, 60.0])
def test_chances_near_0_and_1(logit, dtype):
    """Masses, moments and entropies of logits beyond the precision of probs, and of small probs."""
    mpmath = pytest.importorskip("mpmath")
    eps = torch.finfo(dtype).eps
    logits = torch.tensor(logit, dtype=dtype)
    laws = [{"logits": logits}]
    if -90 < logit < 10:
        laws.append({"probs": torch.sigmoid(logits)})
    for given in laws:
        with mpmath.workdps(300):
            if "probs" in given:
                p = mpmath.mpf(given["probs"].item())
                q = 1 - p
            else:
                p, q = (1 / (1 + mpmath.exp(mpmath.mpf(sign * logit))) for sign in (-1, 1))
            log_p, log_q = mpmath.log(p), mpmath.log(q)
            entropy = -p * log_p - q * log_q
            exact = {
                dist.Bernoulli(**given): ((1, log_p), (0, log_q)),
                dist.Geometric(**given): ((0, log_p), (5, log_p + 5 * log_q)),
                dist.Binomial(9, **given): (
                    (0, 9 * log_q),
                    (4, mpmath.log(126) + 4 * log_p + 5 * log_q),
                    (9, 9 * log_p),
                ),
                dist.NegativeBinomial(4, **given): ((0, 4 * log_q), (2, mpmath.log(10) + 2 * log_p + 4 * log_q)),
            }
            for law, masses in exact.items():
                for value, expected in masses:
                    ours = law.log_prob(torch.tensor(float(value), dtype=dtype)).item()
                    # torch's cross entropy of logits has an absolute error.
                    assert ours == pytest.approx(float(expected), rel=8 * eps, abs=40 * eps), (law, value)
            geometric, negative_binomial = dist.Geometric(**given), dist.NegativeBinomial(4, **given)
            numbers = [
                (dist.Bernoulli(**given).entropy(), entropy),
                (geometric.entropy(), entropy / p),
                (geometric.mean, q / p),
                (geometric.variance, q / p**2),
                (negative_binomial.mean, 4 * p / q),
                (negative_binomial.variance, 4 * p / q**2),
            ]
            for ours, expected in numbers:
                if eps * 1e-30 < expected < torch.finfo(dtype).max:
                    # exp amplifies the rounding of its argument.
                    assert ours.item() == pytest.approx(float(expected), rel=(8 + 2 * abs(logit)) * eps)


def test_mean_of_a_negative_binomial_at_probs_near_1():
    probs = torch.tensor(1 - 2.0**-24)
    d = dist.NegativeBinomial(torch.tensor(5.0), probs)
    assert d.mean == 5 * (2**24 - 1)
    assert d.mode == 4 * (2**24 - 1)


@pytest.mark.parametrize("dtype", WIDE, ids=str)
def test_categories_of_probability_0(dtype):
    probs = torch.tensor([0.0, 1e-20, 0.25, 0.75], dtype=dtype, requires_grad=True)
    expected = torch.tensor([-math.inf, math.log(1e-20), math.log(0.25), math.log(0.75)], dtype=dtype)
    categories = torch.arange(4)
    for log_prob in (
        dist.Categorical(probs).log_prob(categories),
        dist.OneHotCategorical(probs).log_prob(torch.eye(4, dtype=dtype)),
        dist.OneHotCategoricalStraightThrough(probs).log_prob(torch.eye(4, dtype=dtype)),
        dist.Multinomial(1, probs).log_prob(torch.eye(4, dtype=dtype)),
    ):
        torch.testing.assert_close(log_prob, expected)
        (grad,) = torch.autograd.grad(log_prob[1:].sum(), probs)
        # The first only through the normalisation, of which three are counted.
        torch.testing.assert_close(grad, torch.tensor([0, 1e20, 4, 4 / 3], dtype=dtype) - 3)
    assert dist.Multinomial(2, probs).log_prob(torch.tensor([0, 0, 1, 1], dtype=dtype)).exp().item() == pytest.approx(
        0.375
    )
    entropy = dist.Categorical(probs).entropy()
    assert entropy.item() == pytest.approx(stats.entropy([0.25, 0.75]))
    assert torch.autograd.grad(entropy, probs)[0].isfinite().all()
    x, log_prob = dist.Categorical(probs).sample_with_log_prob((1000,), key=KEY)
    torch.testing.assert_close(log_prob, dist.Categorical(probs).log_prob(x), rtol=1e-5, atol=1e-5)


def test_counts_are_exact_where_log_gamma_functions_cancel():
    """Float32 against scipy in float64."""
    k, n = 2_000_100.0, 4_000_000.0
    assert dist.Poisson(2e6).log_prob(torch.tensor(k)).item() == pytest.approx(stats.poisson(2e6).logpmf(k), abs=1e-5)
    binomial = dist.Binomial(torch.tensor(n), torch.tensor(0.5)).log_prob(torch.tensor(k))
    assert binomial.item() == pytest.approx(stats.binom(n, 0.5).logpmf(k), abs=1e-5)
    negative = dist.NegativeBinomial(torch.tensor(2e6), torch.tensor(0.5)).log_prob(torch.tensor(k))
    assert negative.item() == pytest.approx(stats.nbinom(2e6, 0.5).logpmf(k), abs=1e-5)
    rate = torch.tensor([0.0, 0.0], requires_grad=True)
    log_prob = dist.Poisson(rate).log_prob(torch.tensor([0.0, 2.0]))
    assert log_prob.tolist() == [0, -math.inf]
    assert torch.autograd.grad(log_prob.sum(), rate)[0].tolist() == [-1, math.inf]


@pytest.mark.parametrize("dtype", WIDE, ids=str)
@pytest.mark.parametrize("df", [1e-3, 0.7, 7.9, 8.1, 39.0, 41.0, 1e5, 1e12, 1e30, math.inf])
def test_student_t_at_any_degrees_of_freedom(df, dtype):
    mpmath = pytest.importorskip("mpmath")
    eps = torch.finfo(dtype).eps
    nu = torch.tensor(df, dtype=dtype, requires_grad=True)
    d = dist.StudentT(nu, torch.zeros((), dtype=dtype), 2.0)
    entropy = d.entropy()
    with mpmath.workdps(80):
        m = mpmath.mpf(nu.item())

        def log_density(x):
            if df == math.inf:
                return -x * x / 2 - mpmath.log(2 * mpmath.pi) / 2 - mpmath.log(2)
            log_peak = mpmath.loggamma((m + 1) / 2) - mpmath.loggamma(m / 2) - mpmath.log(m * mpmath.pi) / 2
            return log_peak - (m + 1) / 2 * mpmath.log1p(x * x / m) - mpmath.log(2)

        expected = mpmath.log(2 * mpmath.pi * mpmath.e) / 2 + mpmath.log(2)
        if df < 1e15:
            steps = mpmath.digamma((m + 1) / 2) - mpmath.digamma(m / 2)
            expected = (m + 1) / 2 * steps + mpmath.log(m) / 2 + mpmath.log(mpmath.beta(m / 2, 0.5)) + mpmath.log(2)
        assert entropy.item() == pytest.approx(float(expected), rel=16 * eps)
        for x in (0.0, 1e-10, 0.3, 4.0, 1e3):
            value = 2 * torch.tensor(x, dtype=dtype)
            ours = d.log_prob(value).item()
            assert ours == pytest.approx(float(log_density(mpmath.mpf(value.item()) / 2)), rel=16 * eps)
    assert torch.autograd.grad(entropy, nu)[0].isfinite()
    assert torch.autograd.grad(d.log_prob(torch.tensor(3.0, dtype=dtype)), nu)[0].isfinite()


def test_student_t_and_its_functions_are_differentiable():
    df = torch.tensor([0.3, 5.0, 7.0, 39.0, 60.0], dtype=torch.float64, requires_grad=True)
    x = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda df, x: dist.StudentT(df, validate_args=False).log_prob(x), (df, x))
    assert gradcheck(lambda df: dist.StudentT(df, validate_args=False).entropy(), df)
    p = torch.tensor([0.01, 0.4, 0.6, 0.99], dtype=torch.float64, requires_grad=True)
    logits = torch.tensor([-30.0, -1.0, 0.5, 20.0], dtype=torch.float64, requires_grad=True)
    for cls in (dist.Bernoulli, dist.Geometric):
        assert gradcheck(lambda p, cls=cls: cls(p, validate_args=False).entropy(), p)
        assert gradcheck(lambda p, cls=cls: cls(logits=p, validate_args=False).entropy(), logits)


@pytest.mark.parametrize("dtype", WIDE, ids=str)
def test_densities_far_out(dtype):
    """Where a square or power overflows but the log-density does not."""
    x = torch.tensor(1e25 if dtype == torch.float32 else 1e200, dtype=dtype)
    one = torch.ones((), dtype=dtype)
    log_x = math.log(x.item())
    assert dist.Cauchy(0 * one, one).log_prob(x).item() == pytest.approx(-math.log(math.pi) - 2 * log_x)
    assert dist.HalfCauchy(one).log_prob(x).item() == pytest.approx(math.log(2 / math.pi) - 2 * log_x)
    assert dist.StudentT(one, 0 * one).log_prob(x).item() == pytest.approx(-math.log(math.pi) - 2 * log_x)
    expected = -math.log(2 * math.pi) / 2 - 0.5 - log_x
    assert dist.Normal(0 * one, x).log_prob(x).item() == pytest.approx(expected)
    assert dist.Normal(0 * one, 1 / x).log_prob(1 / x).item() == pytest.approx(expected + 2 * log_x)
    assert dist.HalfNormal(x).log_prob(x).item() == pytest.approx(expected + math.log(2))
    assert dist.LogNormal(0 * one, x).log_prob(one).item() == pytest.approx(expected + 0.5)
    assert dist.Weibull(one, 5 * one).log_prob(x) == -math.inf
    assert dist.Weibull(one, 9 * one).log_prob(1 / x).item() == pytest.approx(math.log(9) - 8 * log_x)
    assert dist.Kumaraswamy(9 * one, 2 * one).log_prob(1 / x).item() == pytest.approx(math.log(18) - 8 * log_x)
    assert dist.Kumaraswamy(one, one).log_prob(torch.tensor([0, 1], dtype=dtype)).tolist() == [0, 0]
    assert dist.Gumbel(0 * one, 1 / x).log_prob(-x) == -math.inf


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, *WIDE], ids=str)
def test_distribution_functions_at_valid_values(dtype):
    one = torch.ones((), dtype=dtype)
    gumbel, level = dist.Gumbel(0 * one, one), torch.tensor([0, 0.5, 1], dtype=dtype)
    assert gumbel.cdf(torch.tensor([-50, 20, 1e4], dtype=dtype)).tolist() == pytest.approx([0, 1, 1])
    assert gumbel.icdf(level)[[0, 2]].tolist() == [-math.inf, math.inf]
    assert dist.Cauchy(0 * one, one).icdf(level)[[0, 2]].tolist() == [-math.inf, math.inf]
    assert dist.HalfCauchy(one).icdf(level)[[0, 2]].tolist() == [0, math.inf]
    small = torch.tensor(2.0**-12, dtype=dtype)
    assert dist.Cauchy(0 * one, one).icdf(small).item() == pytest.approx(-(2**12) / math.pi, rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, *WIDE], ids=str)
@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
def test_relaxed_densities_at_the_ends(temperature, dtype):
    t = torch.tensor(temperature, dtype=dtype)
    for given in ({"logits": torch.tensor([-3.0, 0.0, 3.0])}, {"probs": torch.tensor([0.01, 0.5, 0.99])}):
        given = {name: p.to(dtype).requires_grad_() for name, p in given.items()}
        d = dist.RelaxedBernoulli(t, **given)
        for value in (torch.tensor([0, 1], dtype=dtype)[:, None], d.sample((2000,), key=KEY)):
            log_prob = d.log_prob(value)
            assert log_prob.isfinite().all()
            assert torch.autograd.grad(log_prob.float().mean(), list(given.values()))[0].isfinite().all()
    one_hot = dist.RelaxedOneHotCategorical(t, logits=torch.zeros(4, dtype=dtype), validate_args=False)
    for value in (torch.eye(4, dtype=dtype), one_hot.sample((2000,), key=KEY)):
        assert one_hot.log_prob(value).isfinite().all()


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.family != "Uniform"], ids=str)
def test_densities_of_extreme_draws_agree(example):
    """The joint kernels' with log_prob of the sample, in float64, where the sample says enough."""
    d = example.make(*example.values((64,)))
    x, log_prob = d.sample_with_log_prob((64,), key=KEY)
    torch.testing.assert_close(log_prob, d.log_prob(x), rtol=1e-6, atol=1e-6)


# Where a formula goes from one branch to another, or has a factor of 0: the argument of a probability, and parameters.
CORNERS = {
    "Binomial": (0.0, {"total_count": 3.0, "logits": 0.0}),
    "Geometric": (2.0, {"logits": 0.0}),
    "NegativeBinomial": (2.0, {"total_count": 3.0, "logits": 0.0}),
    "Bernoulli": (1.0, {"logits": 0.0}),
    "Kumaraswamy": (0.25, {"concentration1": 1.0, "concentration0": 1.0}),
    "ContinuousBernoulli": (0.25, {"logits": 0.0}),
    "TanhNormal": (0.0, {"loc": 0.0, "scale": 1.0}),
    "TruncatedNormal at loc": (0.0, {"loc": 0.0, "scale": 1.0, "low": -1.0, "high": 1.0}),
    "TruncatedNormal from loc": (0.5, {"loc": 0.0, "scale": 1.0, "low": 0.0, "high": 1.0}),
    "TruncatedNormal to loc": (-0.5, {"loc": 0.0, "scale": 1.0, "low": -1.0, "high": 0.0}),
}


@pytest.mark.parametrize("method", ["log_prob", "entropy", "cdf", "mean", "variance"])
@pytest.mark.parametrize("case", CORNERS)
def test_first_and_second_derivatives_at_the_corners_of_formulas(case, method):
    value, given = CORNERS[case]
    family = getattr(dist, case.split()[0])
    constants = {name: v for name, v in given.items() if name == "total_count" and family is dist.Binomial}
    names = [name for name in given if name not in constants]
    point = torch.tensor([value, *(given[name] for name in names)], dtype=torch.float64)
    takes_value = method in ("log_prob", "cdf")

    def function(x, *params):
        made = family(**constants, **dict(zip(names, params, strict=True)), validate_args=False)
        return outcome(made, method, *((x,) if takes_value else ()))

    x, *params = (p.clone().requires_grad_() for p in point)
    if not takes_value or family(**given).support.is_discrete:
        x = x.detach()
    if function(x, *params) is None:
        pytest.skip("torch has none")
    gradcheck(function, (x, *params))
    gradgradcheck(function, (x, *params), atol=1e-4)


def test_zero_logits_have_the_gradient_of_the_counts():
    """As torch's test of a Binomial at logits of 0, where training begins whose last layer is 0 at first."""
    logits = torch.zeros(4, requires_grad=True)
    counts = torch.tensor([0.0, 1.0, 2.0, 3.0])
    for made, expected in (
        (dist.Binomial(3, logits=logits), counts - 1.5),
        (dist.Geometric(logits=logits), 0.5 - 0.5 * counts),
        (dist.NegativeBinomial(3.0, logits=logits), 0.5 * counts - 1.5),
    ):
        (gradient,) = torch.autograd.grad(made.log_prob(counts).sum(), logits)
        torch.testing.assert_close(gradient, expected)


def test_truncated_normal_at_a_bound_has_the_gradient_of_the_value():
    loc, scale, low, high = (torch.tensor(v, dtype=torch.float64) for v in (0.3, 2.0, -1.0, 1.5))
    for at in (low, high):
        x = at.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(dist.TruncatedNormal(loc, scale, low, high).log_prob(x), x)
        torch.testing.assert_close(gradient, (loc - at) / scale**2)


def test_asymmetric_laplace_distribution_function_at_loc():
    x = torch.zeros((), dtype=torch.float64, requires_grad=True)
    d = dist.AsymmetricLaplace(torch.zeros_like(x), 1.0, 2.0)
    (slope,) = torch.autograd.grad(d.cdf(x), x)
    torch.testing.assert_close(slope, d.log_prob(x).exp())
