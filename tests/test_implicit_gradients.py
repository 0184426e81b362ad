"""Gradients of Beta and Dirichlet draws are the implicit ones of their own laws: functions of sample and parameters."""

from __future__ import annotations

import itertools
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.autograd import grad

import rsample.distributions as dist
from rsample.kernels import use_backend

KEY = torch.tensor([20261129, 7], dtype=torch.uint64)
BACKENDS = ["reference", "compiled"]
CONCENTRATIONS = [1e-2, 0.3, 1.0, 2.5, 20.0, 150.0, 3e3, 1e5, 1e6]


def logit_derivatives(x: np.ndarray, y: np.ndarray, a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    """d logit(x) / da and -d logit(x) / db at fixed F(a, b, x), y = 1 - x, of arrays: by brute force, to 1e-7.

    The defining integral over the logit, from the mean away, on 45 panels that grow from either end and from where the
    density's logarithm bends, by Gauss and Legendre's rule.
    """
    x, y, a, b = (np.asarray(t, dtype=np.float64)[..., None] for t in np.broadcast_arrays(x, y, a, b))
    n, upper = a + b, b * x > a * y
    q, c = np.where(upper, y, x), np.where(upper, b, a)

    def exponent(w: np.ndarray) -> np.ndarray:
        return n * np.log1p(q * np.expm1(-w)) + c * w

    end = np.full_like(x, 2.0**-20)
    while (short := exponent(end) < 60).any():
        end = np.where(short, 2 * end, end)
    growing, kink = 2.0 ** np.arange(-24, 1), np.abs(np.log(x / y))
    around = np.concatenate([-(2.0 ** np.arange(9.0, -1)[::-1]), [0.0], 2.0 ** np.arange(-1, 9.0)])
    edges = np.concatenate([np.zeros_like(x), end * growing, np.clip(kink + around, 0, end)], -1)
    edges = np.sort(edges, -1)[..., None]
    nodes, weights = np.polynomial.legendre.leggauss(24)
    width = np.diff(edges, axis=-2)
    w = (edges[..., :-1, :] + width * (nodes + 1) / 2).reshape(*x.shape[:-1], -1)
    value = (width * weights / 2).reshape(w.shape) * np.exp(-exponent(w))
    moved = np.log1p(q * np.expm1(-w))
    results = []
    for share, concentration, shrinks in ((x, a, ~upper), (y, b, upper)):
        offset = np.log(share) + special.digamma(n) - special.digamma(concentration)
        results.append(np.abs((value * (offset - moved - shrinks * w)).sum(-1)))
    return results[0], results[1]


def velocity(x: torch.Tensor, a: Any, b: Any) -> torch.Tensor:
    """dx/da."""
    at = x.detach().double().numpy()
    return torch.from_numpy(logit_derivatives(at, 1 - at, a, b)[0] * at * (1 - at))


def test_the_brute_force_itself():
    """Against differences of the incomplete beta function, with 40 digits."""
    for x, a, b in ((0.3, 2.0, 5.0), (0.7, 0.5, 0.01), (1e-5, 0.01, 3.0), (0.999, 50.0, 0.3)):
        with mpmath.workdps(40):
            step, at = mpmath.mpf(10) ** -14, mpmath.mpf(x)
            low, high = (mpmath.betainc(c, b, 0, at, regularized=True) for c in (a - step, a + step))
            density = at**a * (1 - at) ** b / mpmath.beta(a, b)
            expected = float((low - high) / (2 * step) / density)
        assert logit_derivatives(x, 1 - x, a, b)[0] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-6)])
def test_beta_gradient_is_that_of_the_sample(dtype, tolerance, backend):
    grid = torch.tensor(CONCENTRATIONS, dtype=dtype)
    first, second = (p.repeat(8, 1, 1).requires_grad_() for p in torch.meshgrid(grid, grid, indexing="ij"))
    with use_backend(backend):
        x = dist.Beta(first, second).rsample(key=KEY)
        ours = grad(x.sum(), (first, second))
    at, a, b = (t.detach().double().numpy() for t in (x, first, second))
    # Next to 1 the sample, rounded, does not say how far from it the draw was.
    inside = (at > 1e-30) & (at < 1 - 1e-3)
    at, a, b = at[inside], a[inside], b[inside]
    for value, expected in zip(ours, logit_derivatives(at, 1 - at, a, b), strict=True):
        value = value.abs().double().numpy()[inside]
        np.testing.assert_allclose(value, expected * at * (1 - at), rtol=tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("number", [0, 1])
def test_beta_gradient_against_differences_of_the_distribution_function(number, backend):
    """As torch's test_beta_wrt_alpha and test_beta_wrt_beta."""
    values = [1e-2, 1e-1, 1.0, 10.0, 100.0]
    for pair in itertools.product(values, values):
        params = [torch.full((20,), v, requires_grad=True) for v in pair]
        with use_backend(backend):
            x = dist.Beta(*params).rsample(key=KEY)
            (ours,) = grad(x.sum(), params[number])
        at = x.detach().double().numpy()
        step = 0.01 * pair[number] / (1 + pair[number] ** 0.5)
        moved = [stats.beta.cdf(at, *(v + s * step * (i == number) for i, v in enumerate(pair))) for s in (1, -1)]
        expected = torch.from_numpy(-(moved[0] - moved[1]) / (2 * step) / stats.beta.pdf(at, *pair))
        # Finite differences end where the distribution function is 1 to rounding.
        inside = (x > 1e-30) & (x < 0.999)
        error = (ours - expected).abs() / (expected.abs() + 1e-30)
        assert (error[inside] < 0.005).all()


def test_beta_gradient_solves_the_transport_equation():
    """As torch's test_beta_tangent_field: d log p / da + (d log p / dx) v + dv/dx = 0, at float64 points."""
    for pair in itertools.product([1e-1, 1.0, 10.0, 400.0], repeat=2):
        params = [torch.full((20,), v, dtype=torch.float64, requires_grad=True) for v in pair]
        x = dist.Beta(*params).rsample(key=KEY)
        v = grad(x.sum(), params[0])[0]
        at = x.detach().requires_grad_()
        inside = (at > 1e-6) & (at < 1 - 1e-6)
        of_param, of_x = grad(dist.Beta(*params).log_prob(at)[inside].sum(), (params[0], at))

        step = 1e-4 * at.detach() * (1 - at.detach())
        divergence = (velocity(at + step, *pair) - velocity(at - step, *pair)) / (2 * step)
        error = of_param + of_x * v + divergence
        assert (error[inside].abs() < 1e-4 * (1 + divergence[inside].abs())).all()


# ------------------------------------------------------------------------------------------------------- Dirichlet

ALPHAS = list(itertools.product([0.1, 1.0, 10.0], repeat=3))


@pytest.mark.parametrize("backend", BACKENDS)
def test_dirichlet_on_the_diagonal(backend):
    """As torch's test: a coordinate moves with its own concentration as its own beta law says."""
    for alpha in ALPHAS:
        concentration = torch.tensor([alpha] * 12, requires_grad=True)
        with use_backend(backend):
            x = dist.Dirichlet(concentration).rsample(key=KEY)
            (ours,) = grad(x[:, 0].sum(), concentration)
        share = x[:, 0].detach()
        inside = (share > 1e-30) & (share < 0.99)
        expected = velocity(share[inside], alpha[0], alpha[1] + alpha[2])
        torch.testing.assert_close(ours[inside, 0].double(), expected, rtol=1e-4, atol=0)


def jacobian(x: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """dx_j / d alpha_i at [row, j, i], from exact derivatives of the marginal laws."""
    at, a = x.numpy(), alpha.numpy()
    gradient = torch.from_numpy(logit_derivatives(at, 1 - at, a, a.sum() - a)[0]) * x
    return gradient.unsqueeze(1) * (torch.eye(x.shape[-1], dtype=torch.float64) - x.unsqueeze(2))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("alpha", [(0.3, 1.0, 10.0), (2.0, 2.0, 2.0), (150.0, 400.0, 0.7)], ids=str)
def test_dirichlet_gradient_solves_the_transport_equation(alpha, backend):
    """As torch's test_dirichlet_tangent_field, with v the whole Jacobian's first column."""
    concentration = torch.tensor(alpha, dtype=torch.float64)
    leaf = concentration.expand(6, 3).clone().requires_grad_()
    with use_backend(backend):
        x = dist.Dirichlet(leaf).rsample(key=KEY)
        columns = [grad(x[:, j].sum(), leaf, retain_graph=True)[0] for j in range(3)]
    v = torch.stack(columns, 1)
    x = x.detach()
    # 1 - x of a coordinate next to 1 is rounded to 2**-53.
    torch.testing.assert_close(v, jacobian(x, concentration), rtol=1e-6, atol=1e-13)
    at = x.clone().requires_grad_()
    of_alpha, of_x = grad(dist.Dirichlet(leaf, validate_args=False).log_prob(at).sum(), (leaf, at))
    basis = torch.tensor([[2.0, -1.0, -1.0], [0.0, 1.0, -1.0]], dtype=torch.float64)
    basis /= basis.norm(dim=-1, keepdim=True)
    step = 1e-4 * x.amin(-1, keepdim=True)
    divergence = sum(
        ((jacobian(x + step * d, concentration) - jacobian(x - step * d, concentration))[..., 0] * d).sum(-1)
        for d in basis
    ) / (2 * step.squeeze(-1))
    error = of_alpha[:, 0] + (of_x * v[..., 0]).sum(-1) + divergence
    assert (error.abs() < 1e-5 * (1 + divergence.abs())).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gradient_that_vanishes_keeps_its_precision(dtype, backend):
    """Of a coordinate next to 1, which moves by what the others leave it."""
    concentration = torch.tensor([1e6, 0.05], dtype=dtype).expand(40, 2).clone().requires_grad_()
    with use_backend(backend):
        x = dist.Dirichlet(concentration).rsample(key=KEY)
        (ours,) = grad(x[:, 0].sum(), concentration)
    rest = x[:, 1].detach().double()
    inside = rest > 1e-30
    of_logit = logit_derivatives((1 - rest).numpy(), rest.numpy(), 1e6, concentration[0, 1].item())[0]
    expected = torch.from_numpy(of_logit) * rest * (1 - rest)
    torch.testing.assert_close(ours[inside, 0].double(), expected[inside], rtol=1e-4, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_gradients_are_float32s(backend):
    for dtype in (torch.float16, torch.bfloat16):
        concentration = torch.tensor([0.5, 2.0, 30.0], dtype=dtype).expand(50, 3).clone().requires_grad_()
        wide = concentration.detach().float().requires_grad_()
        weight = torch.linspace(-1, 1, 150, dtype=dtype).view(50, 3)
        with use_backend(backend):
            (ours,) = grad(dist.Dirichlet(concentration).rsample(key=KEY), concentration, weight)
            (expected,) = grad(dist.Dirichlet(wide).rsample(key=KEY), wide, weight.float())
        torch.testing.assert_close(ours, expected.to(dtype))


def test_every_kind_of_derivative_of_dirichlet():
    concentration = torch.tensor([0.7, 2.0, 30.0], dtype=torch.float64)

    def draw(concentration):
        return dist.Dirichlet(concentration, validate_args=False).rsample((4,), key=KEY)

    def loss(concentration):
        return (draw(concentration) * torch.arange(1, 4)).square().sum()

    reverse = torch.func.jacrev(draw)(concentration)
    torch.testing.assert_close(torch.func.jacfwd(draw, randomness="same")(concentration), reverse)
    second = torch.func.jacrev(torch.func.grad(loss))(concentration)
    forward = torch.func.jacfwd(torch.func.grad(loss), randomness="same")(concentration)
    torch.testing.assert_close(forward, second)
    leaf = concentration.clone().requires_grad_()
    (first,) = grad(loss(leaf), leaf, create_graph=True)
    eager = torch.stack([grad(g, leaf, retain_graph=True)[0] for g in first])
    torch.testing.assert_close(eager, second)


def test_second_derivatives_of_dirichlet_are_those_of_the_mean():
    """The mean of second derivatives against central differences of the mean gradient, five standard errors."""

    def gradient(alpha):
        leaf = torch.tensor(alpha, dtype=torch.float64).expand(5_000, 3).clone().requires_grad_()
        x = dist.Dirichlet(leaf).rsample(key=KEY)
        (first,) = grad((x[:, 0] * x[:, 1]).sum(), leaf, create_graph=True)
        return leaf, first

    alpha = (1.4, 2.6, 0.8)
    leaf, first = gradient(alpha)
    seconds = [grad(first[:, i].sum(), leaf, retain_graph=True)[0] for i in range(3)]
    for j in range(3):
        shifted = [[a + s * 0.05 * (j == k) for k, a in enumerate(alpha)] for s in (1, -1)]
        slopes = (gradient(shifted[0])[1] - gradient(shifted[1])[1]).detach() / 0.1
        for i in range(3):
            slope, second = slopes[:, i], seconds[i][:, j]
            error = torch.sqrt((slope.var() + second.var()) / len(slope))
            # The step's own error is of second order.
            assert abs(slope.mean() - second.mean()) < 5 * error + 1e-3, (i, j)


@pytest.mark.parametrize("a", [0.3, 2.5, 60.0])
def test_second_derivative_of_beta_is_that_of_the_sample(a):
    first = torch.full((4,), a, dtype=torch.float64, requires_grad=True)
    second = torch.full_like(first, 1.7)
    x = dist.Beta(first, second).rsample(key=KEY)
    (slope,) = grad(x.sum(), first, create_graph=True)
    (ours,) = grad(slope.sum(), first)
    step = 1e-4 * min(a, 1.0)

    at = x.detach()
    high, low = (velocity(at + s * step * slope.detach(), a + s * step, 1.7) for s in (1, -1))
    # Of the oracle, 1e-7 of the slope over the step.
    torch.testing.assert_close(ours, (high - low) / (2 * step), rtol=1e-3, atol=1e-2 * slope.max().item() / a)


@pytest.mark.parametrize("make", [lambda c: dist.Beta(c[..., 0], c[..., 1]), dist.Dirichlet], ids=["Beta", "Dirichlet"])
def test_gradient_of_sample_and_density_together(make):
    leaf = torch.tensor([0.8, 3.0], dtype=torch.float64).expand(5, 2).clone().requires_grad_()
    x, log_prob = make(leaf).rsample_with_log_prob(key=KEY)
    (ours,) = grad(log_prob.sum(), leaf, retain_graph=True)
    at = x.detach().requires_grad_()
    score, of_x = grad(make(leaf).log_prob(at).sum(), (leaf, at))
    (through_x,) = grad(x, leaf, of_x)
    torch.testing.assert_close(ours, score + through_x)


@pytest.mark.parametrize("law", [torch.distributions.Beta, torch.distributions.Dirichlet])
def test_variance_is_that_of_torchs_gradient(law):
    """Of the gradient of the mean of x, whose variance the gamma numbers' gradient nearly doubles; 200,000 draws."""
    values = [torch.full((200_000,), v, requires_grad=True) for v in (2.0, 3.0)]
    variances = []
    for made in (law, getattr(dist, law.__name__)):
        torch.manual_seed(3)
        d = made(*values) if law is torch.distributions.Beta else made(torch.stack(values, -1))
        x = d.rsample()
        variances.append(grad((x if x.dim() == 1 else x[:, 0]).sum(), values[0])[0].var().item())
    # Five standard errors of a ratio of two variances, each known to 0.4%.
    assert variances[1] == pytest.approx(variances[0], rel=0.03)
