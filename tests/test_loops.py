"""Distributions whose draws loop: their laws, their gradients, and what they do under torch's transforms."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, stats

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.draws.rows.dirichlet import DIRICHLET
from rsample.kernels.laws import known_laws
from rsample.kernels.laws.rejection.gamma import GAMMA
from rsample.kernels.laws.rejection.noise import Blocks, LoopNoise, loop_noise

KEY = torch.tensor([20261128, 5], dtype=torch.uint64)
LOOPS = [law for law in known_laws().values() if isinstance(law.noise, LoopNoise)]
N = 20_000
# Of 90 goodness-of-fit tests at fixed keys; one as bad as this is expected in 11 tables like this one.
LEAST_P = 1e-3


def normal_limit(x: np.ndarray) -> np.ndarray:
    return stats.norm.cdf(x, 0, 1e-3)


LAWS: list[tuple[str, tuple[float, ...], Callable[[np.ndarray], np.ndarray]]] = [
    ("Gamma", (0.05, 2.0), stats.gamma(0.05, scale=0.5).cdf),
    ("Gamma", (0.5, 2.0), stats.gamma(0.5, scale=0.5).cdf),
    ("Gamma", (1.0, 0.1), stats.gamma(1.0, scale=10.0).cdf),
    ("Gamma", (3.5, 2.0), stats.gamma(3.5, scale=0.5).cdf),
    ("Gamma", (1e4, 1.0), stats.gamma(1e4).cdf),
    ("Gamma", (1e6, 1e6), stats.gamma(1e6, scale=1e-6).cdf),
    ("Chi2", (0.7,), stats.chi2(0.7).cdf),
    ("Chi2", (50.0,), stats.chi2(50).cdf),
    ("InverseGamma", (3.0, 2.0), stats.invgamma(3.0, scale=2.0).cdf),
    ("InverseGamma", (0.4, 2.0), stats.invgamma(0.4, scale=2.0).cdf),
    ("Beta", (0.5, 0.5), stats.beta(0.5, 0.5).cdf),
    ("Beta", (3.0, 200.0), stats.beta(3, 200).cdf),
    ("Beta", (1e4, 2e4), stats.beta(1e4, 2e4).cdf),
    ("FisherSnedecor", (4.0, 7.0), stats.f(4, 7).cdf),
    ("FisherSnedecor", (0.6, 0.8), stats.f(0.6, 0.8).cdf),
    ("StudentT", (0.5, 0.0, 1.0), stats.t(0.5).cdf),
    ("StudentT", (3.0, 1.0, 2.0), stats.t(3, 1, 2).cdf),
    ("StudentT", (1e6, 0.0, 1e-3), normal_limit),
    ("VonMises", (0.0, 1e-3), stats.vonmises(1e-3).cdf),
    ("VonMises", (0.0, 0.7), stats.vonmises(0.7).cdf),
    ("VonMises", (0.0, 5.0), stats.vonmises(5).cdf),
    ("VonMises", (0.0, 1e6), normal_limit),
]


def made(family: str, params: tuple[float, ...], shape: tuple[int, ...], dtype: torch.dtype) -> Any:
    return getattr(dist, family)(*(torch.full(shape, p, dtype=dtype) for p in params))


@pytest.mark.parametrize("backend", ["reference", "compiled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("family", "params", "cdf"), LAWS, ids=lambda x: str(x) if not callable(x) else "")
def test_samples_follow_the_law(family, params, cdf, dtype, backend):
    with use_backend(backend):
        x = made(family, params, (N,), dtype).sample(key=KEY)
    p = stats.kstest(x.double().numpy(), cdf).pvalue
    assert p > LEAST_P, p


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("family", "params", "cdf"), LAWS, ids=lambda x: str(x) if not callable(x) else "")
def test_compiled_draws_are_the_reference(family, params, cdf, dtype):
    d = made(family, params, (3001,), dtype)
    with use_backend("reference"):
        expected = d.sample(key=KEY)
    with use_backend("compiled"):
        x = d.sample(key=KEY)
    # All but a few, whose uniform number is within rounding of its threshold.
    close = torch.isclose(
        x, expected, rtol=1e-4 if dtype == torch.float32 else 1e-11, atol=1e-6 * expected.abs().median()
    )
    assert (~close).sum() <= 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_small_concentrations_stay_inside_the_support(dtype):
    small = torch.full((5000,), 1e-3, dtype=dtype)
    for x in (dist.Gamma(small, 1.0), dist.InverseGamma(small, 1.0), dist.Beta(small, small)):
        sample = x.sample(key=KEY)
        assert sample.dtype == dtype
        assert (sample > 0).all()
        assert torch.isfinite(sample).all()
    assert (dist.Beta(small, small).sample(key=KEY) < 1).all()
    # Half of the mass at either end, as the mean of 1/2 asks for: p > 1e-3 of the binomial law.
    ones = (dist.Beta(small, small).sample(key=KEY) > 0.5).sum()
    assert stats.binomtest(int(ones), 5000).pvalue > LEAST_P


def test_dirichlet_of_small_concentrations_has_the_right_mean():
    concentration = torch.tensor([1e-3, 2e-3, 3e-3])
    x = dist.Dirichlet(concentration).sample((N,), key=KEY)
    torch.testing.assert_close(x.sum(-1), torch.ones(N))
    # Nearly one-hot: the greatest coordinate is a category of probabilities concentration / total.
    counts = np.bincount(x.argmax(-1).numpy(), minlength=3)
    assert stats.chisquare(counts, N * np.array([1, 2, 3]) / 6).pvalue > LEAST_P


@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_dirichlet_margins_are_beta(backend):
    with use_backend(backend):
        x = dist.Dirichlet(torch.tensor([0.5, 2.0, 7.0])).sample((N,), key=KEY)
    for k, a in enumerate((0.5, 2.0, 7.0)):
        assert stats.kstest(x[:, k].double().numpy(), stats.beta(a, 9.5 - a).cdf).pvalue > LEAST_P


# ------------------------------------------------------------------------------------------------------- gradients


def gamma_derivative(x: float, a: float) -> float:
    """dx/da of a standard gamma number at fixed F(a, x), with 40 digits."""
    with mpmath.workdps(40):
        x, a = mpmath.mpf(x), mpmath.mpf(a)
        step = mpmath.mpf(10) ** -12
        lower = [mpmath.gammainc(b, 0, x, regularized=True) for b in (a - step, a + step)]
        density = mpmath.exp((a - 1) * mpmath.log(x) - x - mpmath.loggamma(a))
        return float(-(lower[1] - lower[0]) / (2 * step) / density)


@pytest.mark.parametrize("backend", ["reference", "compiled"])
@pytest.mark.parametrize("a", [1e-2, 0.1, 0.7, 1.0, 2.5, 3.0, 9.0, 60.0, 1e3, 1e5, 1e6])
def test_gamma_gradient_is_that_of_the_sample(a, backend):
    concentration = torch.full((12,), a, requires_grad=True)
    with use_backend(backend):
        x = dist.Gamma(concentration, 1.0).rsample(key=KEY)
        (grad,) = torch.autograd.grad(x.sum(), concentration)
    alpha = concentration.detach()[0].item()
    for ours, sample in zip(grad.tolist(), x.tolist(), strict=True):
        if sample > 1e-30:
            assert ours == pytest.approx(gamma_derivative(sample, alpha), rel=1e-4)


def von_mises_derivative(x: float, k: float) -> float:
    with mpmath.workdps(30):
        mean = mpmath.besseli(1, k) / mpmath.besseli(0, k)
        width = min(mpmath.pi, 12 / mpmath.sqrt(k))

        def inside(t: Any) -> Any:
            return (mpmath.cos(t) - mean) * mpmath.exp(k * (mpmath.cos(t) - mpmath.cos(x)))

        return float(-mpmath.quad(inside, [0, x / 2, x] if abs(x) < width else [0, x]))


@pytest.mark.parametrize("k", [1e-3, 0.3, 2.0, 20.0, 1e3])
def test_von_mises_gradient_is_that_of_the_sample(k):
    concentration = torch.full((12,), k, requires_grad=True)
    loc = torch.zeros((), requires_grad=True)
    x = dist.VonMises(loc, concentration).rsample(key=KEY)
    grad, of_loc = torch.autograd.grad(x.sum(), (concentration, loc))
    for ours, sample in zip(grad.tolist(), x.tolist(), strict=True):
        expected = von_mises_derivative(sample, concentration.detach()[0].item())
        assert ours == pytest.approx(expected, rel=1e-4, abs=1e-7 * max(abs(grad).max().item(), 1e-6))
    assert of_loc == 12


@pytest.mark.parametrize("law", [m for m in LOOPS if m.cotangents], ids=lambda law: law.name)
def test_float32_gradients_are_those_of_float64_on_the_same_noise(law):
    """Concentrations and degrees of freedom from 1e-2 to 1e6, in all combinations; noise rounded to float32 counts as
    exact. Of the sample's logarithm, relative to the gradient or, if that is more, to the median of 64 elements of the
    same parameters: a gradient of either sign passes through 0.
    """
    values = torch.logspace(-2, 6, 33)
    shape = (33, 33, 64)
    params = [torch.full(shape, 0.7) for _ in law.parameters]
    params[0] = values[:, None, None].expand(shape).contiguous()
    if law.name in ("beta", "fisher_snedecor"):
        params[1] = values[:, None].expand(shape).contiguous()
    if law.name == "von_mises":
        params.reverse()
    noise = loop_noise(law.noise, KEY.view(torch.int64), params, shape, torch.float32)
    wide = tuple(x.double() for x in noise) if isinstance(noise, tuple) else noise.double()
    exact_sample = law.reference(wide, *(p.double() for p in params))
    inside = (exact_sample.abs() > 1e-30) & (exact_sample.abs() < 1e30)
    grad = torch.where(inside, 1 / exact_sample, 0.0).float()
    ours = law.reference_grad(noise, grad, *params)
    exact = law.reference_grad(wide, grad.double(), *(p.double() for p in params))
    for name, x, expected in zip(law.parameters, ours, exact, strict=True):
        expected = expected.expand(shape)
        counts = inside & (expected.abs() > 1e-30)
        usual = torch.where(counts, expected.abs(), torch.nan).nanmedian(-1, keepdim=True).values
        error = (x.double() - expected).abs() / torch.maximum(expected.abs(), usual)
        print(f"{name}: within {error[counts].max():.1e}")
        assert (error[counts] <= 1e-4).all()


PATHWISE = {
    "Gamma": (2.3, 1.7),
    "Chi2": (3.1,),
    "InverseGamma": (2.3, 1.7),
    "Beta": (1.4, 2.6),
    "FisherSnedecor": (3.2, 5.1),
    "StudentT": (3.3, 0.4, 1.2),
    "VonMises": (0.4, 1.9),
}


@pytest.mark.parametrize("family", PATHWISE)
def test_gradients_are_those_of_the_mean(family):
    """A pathwise gradient's mean is the gradient of an expectation, against central differences."""
    values = PATHWISE[family]
    # Bounded; and for angles periodic, as a gradient does not see where they are cut.
    function = torch.sin if family == "VonMises" else torch.tanh
    params = [torch.full((400_000,), v, dtype=torch.float64, requires_grad=True) for v in values]
    made = getattr(dist, family)
    x = made(*params).rsample(key=KEY)
    grads = torch.autograd.grad(function(x).sum(), params)
    for i, grad in enumerate(grads):
        step = 0.05
        moved = []
        for sign in (-1, 1):
            shifted = [p.detach() + sign * step * (i == j) for j, p in enumerate(params)]
            moved.append(function(made(*shifted).sample(key=torch.tensor([7, 0], dtype=torch.uint64))))
        slope = (moved[1] - moved[0]) / (2 * step)
        # Five standard errors of the difference, p = 6e-7, and the step's own error of second order.
        error = torch.sqrt((slope.var() + grad.var()) / slope.numel())
        assert abs(slope.mean() - grad.mean()) < 5 * error + 2e-3


@pytest.mark.parametrize("family", PATHWISE)
def test_jvp_is_the_transpose_of_the_gradient(family):
    params = tuple(torch.full((6,), v, dtype=torch.float64) for v in PATHWISE[family])
    tangents = tuple(torch.linspace(0.5, 1.5, 6, dtype=torch.float64) + i for i in range(len(params)))

    def draw(*params):
        return getattr(dist, family)(*params, validate_args=False).rsample(key=KEY)

    _, pushed = torch.func.jvp(draw, params, tangents)
    leaves = [p.clone().requires_grad_() for p in params]
    grads = torch.autograd.grad(draw(*leaves).sum(), leaves)
    torch.testing.assert_close(pushed, sum(g * t for g, t in zip(grads, tangents, strict=True)))


@pytest.mark.parametrize("family", PATHWISE)
def test_vmap_draws_one_sample_of_the_whole_batch(family):
    params = [torch.linspace(0.8, 1.2, 15, dtype=torch.float64).reshape(3, 5) * v for v in PATHWISE[family]]

    def draw(*params):
        return getattr(dist, family)(*params, validate_args=False).rsample(key=KEY)

    mapped = torch.func.vmap(draw, randomness="different")(*params)
    torch.testing.assert_close(mapped, draw(*params))


def test_second_derivatives_of_student_t():
    params = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in PATHWISE["StudentT"]]

    def draw(*params):
        return dist.StudentT(*params, validate_args=False).rsample((3,), key=KEY)

    assert torch.autograd.gradgradcheck(draw, params)


@pytest.mark.parametrize("a", [0.05, 0.7, 2.5, 60.0, 1e3, 3e5])
def test_second_derivative_of_gamma_is_that_of_the_sample(a):
    concentration = torch.full((6,), a, dtype=torch.float64, requires_grad=True)
    x = dist.Gamma(concentration, torch.ones((), dtype=torch.float64)).rsample(key=KEY)
    (grad,) = torch.autograd.grad(x.sum(), concentration, create_graph=True)
    (second,) = torch.autograd.grad(grad.sum(), concentration)
    step = 1e-4 * min(a, 1.0)
    for ours, slope, sample in zip(second.tolist(), grad.tolist(), x.tolist(), strict=True):
        # Along the path on which the probability is held, of which the slope is known.
        moved = [gamma_derivative(sample + sign * step * slope, a + sign * step) for sign in (1, -1)]
        expected = (moved[0] - moved[1]) / (2 * step)
        assert ours == pytest.approx(expected, rel=1e-5, abs=1e-6 * slope / a)


@pytest.mark.parametrize("family", [family for family in PATHWISE if family != "StudentT"])
def test_second_derivatives_are_those_of_the_mean(family):
    """The mean of second derivatives, mixed ones too, against central differences of the mean gradient."""
    values = PATHWISE[family]
    function = torch.sin if family == "VonMises" else torch.tanh

    def gradients(values):
        params = [torch.full((20_000,), v, dtype=torch.float64, requires_grad=True) for v in values]
        x = getattr(dist, family)(*params).rsample(key=KEY)
        return params, torch.autograd.grad(function(x).sum(), params, create_graph=True)

    params, first = gradients(values)
    for i, grad in enumerate(first):
        # Uniform angles have second derivatives of exactly 0 in places, where no graph is left.
        seconds = torch.autograd.grad(grad.sum(), params, retain_graph=True)
        for j, second in enumerate(seconds):
            moved = [gradients([v + sign * 0.05 * (j == k) for k, v in enumerate(values)])[1][i] for sign in (1, -1)]
            slope = (moved[0] - moved[1]).detach() / 0.1
            # Five standard errors, p = 6e-7, and the step's own error of second order.
            error = torch.sqrt((slope.var() + second.var()) / slope.numel())
            assert abs(slope.mean() - second.mean()) < 5 * error + 1e-3, (i, j)


def test_every_mode_has_the_same_second_derivative():
    values = tuple(torch.full((3,), v, dtype=torch.float64) for v in PATHWISE["Beta"])

    def draw(*params):
        return torch.tanh(dist.Beta(*params, validate_args=False).rsample(key=KEY)).sum()

    forward = functools.partial(torch.func.jacfwd, randomness="same")
    reverse = torch.func.jacrev(torch.func.grad(draw))(*values)
    torch.testing.assert_close(forward(torch.func.grad(draw))(*values), reverse)
    torch.testing.assert_close(torch.func.jacrev(forward(draw))(*values), reverse)


@pytest.mark.parametrize("family", PATHWISE)
def test_compiles_to_one_graph_for_every_size(family):
    @torch.compile(fullgraph=True, dynamic=True)
    def draw(*params):
        return getattr(dist, family)(*params, validate_args=False).rsample(key=KEY)

    for n in (5, 9):
        params = [torch.full((n,), v, requires_grad=True) for v in PATHWISE[family]]
        eager = getattr(dist, family)(*params).rsample(key=KEY)
        torch.testing.assert_close(draw(*params), eager)
        ours, expected = (torch.autograd.grad(f.sum(), params) for f in (draw(*params), eager))
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("family", PATHWISE)
def test_scalar_and_broadcast_parameters(family):
    values = PATHWISE[family]
    shapes = itertools.islice(itertools.cycle([(4, 1), (5,), ()]), len(values))
    params = [torch.full(s, v, dtype=torch.float64, requires_grad=True) for s, v in zip(shapes, values, strict=True)]
    d = getattr(dist, family)(*params)
    x = d.rsample((3,), key=KEY)
    full = [p.detach().expand(x.shape).clone().requires_grad_() for p in params]
    y = getattr(dist, family)(*full).rsample(key=KEY)
    torch.testing.assert_close(x, y)
    grads = torch.autograd.grad(x.square().sum(), params)
    expected = torch.autograd.grad(y.square().sum(), full)
    for g, e, p in zip(grads, expected, params, strict=True):
        torch.testing.assert_close(g, e.sum_to_size(p.shape))


@pytest.mark.parametrize("family", [*PATHWISE, "Dirichlet"])
def test_log_prob_beside_the_sample(family):
    params = PATHWISE.get(family) or (torch.tensor([0.7, 1.2, 3.0], dtype=torch.float64),)
    params = [torch.as_tensor(p, dtype=torch.float64).requires_grad_() for p in params]
    d = getattr(dist, family)(*params)
    x, log_prob = d.rsample_with_log_prob((4,), key=KEY)
    y = d.rsample((4,), key=KEY)
    torch.testing.assert_close(x, y)
    torch.testing.assert_close(log_prob, d.log_prob(y))
    ours, expected = (torch.autograd.grad(z.sum(), params, retain_graph=True) for z in (log_prob, d.log_prob(y)))
    torch.testing.assert_close(ours, expected)
    x, log_prob = d.sample_with_log_prob((4,), key=KEY)
    assert not x.requires_grad
    torch.testing.assert_close(log_prob, d.log_prob(x))


def test_gamma_numbers_add_up():
    """A sum of gamma numbers is a gamma number: p > 1e-3 of Kolmogorov and Smirnov's test."""
    x = dist.Gamma(torch.tensor([0.3, 1.1]), 2.0).sample((N,), key=KEY).sum(-1)
    assert stats.kstest(x.double().numpy(), stats.gamma(1.4, scale=0.5).cdf).pvalue > LEAST_P


def test_invalid_parameters_are_named():
    with pytest.raises(ValueError, match="concentration"):
        dist.Gamma(torch.tensor(-1.0), 1.0, validate_args=True)
    with pytest.raises(RuntimeError, match="concentration1 of shape"):
        dist.Beta(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match="df"):
        dist.StudentT(torch.tensor(-1.0), validate_args=True)


@pytest.mark.parametrize("a", [0.3, 1.0, 2.0, 20.0])
def test_attempts_at_a_gamma_number_are_accepted_as_often_as_they_should_be(a):
    """The two candidates of a block: each is taken with the probability of theory, independently; p > 1e-3."""
    d = (a + 1 if a < 1 else a) - 1 / 3

    def taken(z: float) -> float:
        y = z / np.sqrt(9 * d)
        return stats.norm.pdf(z) * np.exp(-3 * d * (y - y**2 / 2 + y**3 / 3 - np.log1p(y))) if y > -1 else 0.0

    p = integrate.quad(taken, -3 * np.sqrt(d), 40, limit=200)[0]
    n = 100_000
    blocks = Blocks.of_draw(KEY, (n,), torch.device("cpu"))
    given = GAMMA.setup(torch.full((n,), a))
    rejected = [GAMMA.attempt(z, u, *given)[1] for z, u in GAMMA.candidates(blocks, 0, 0, torch.float32)]
    both = int((rejected[0] & rejected[1]).sum())
    for accepted in (~x for x in rejected):
        assert stats.binomtest(int(accepted.sum()), n, p).pvalue > LEAST_P
    assert stats.binomtest(both, n, (1 - p) ** 2).pvalue > LEAST_P


# Gamma numbers on a logarithmic scale are drawn as a part of Dirichlet's draw alone, whose rows are whole.
@pytest.mark.parametrize(
    "law", [DIRICHLET.law if law.name == "log_gamma" else law for law in LOOPS], ids=lambda law: law.name
)
def test_opcheck(law):
    params = [
        torch.full((3, 4 if law is DIRICHLET.law else 1), 2.0 - 1.5 * (name in ("probs", "logits")))
        for name in law.parameters
    ]
    forward = getattr(torch.ops.rsample, law.name).default
    for requires_grad in (False, *([True] if law.cotangents else [])):
        given = [p.clone().requires_grad_(requires_grad) for p in params]
        torch.library.opcheck(forward, ([KEY], *given, (2, 3, 4), torch.float32))
    if law.cotangents:
        backward = getattr(torch.ops.rsample, f"{law.name}_backward").default
        needs = [True, *(False for _ in params[1:])]
        torch.library.opcheck(backward, ([KEY], torch.ones(2, 3, 4), *params, needs))
