"""Gradients of draws over rows: the loops of the CPU against the torch operations that say what they compute."""

import pytest
import torch

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.engines.cpu import rows as compiled

KEY = torch.tensor([20261130, 8], dtype=torch.uint64)
# Longer than a part of a sum, a tile, and the work of a thread.
SHAPES = [(3, 1), (5, 4), (2, 130), (3, 1300), (1, 9000)]


def gradients(make, backend, *values):
    leaves = [v.clone().requires_grad_() for v in values]
    with use_backend(backend):
        x = make(*leaves).rsample(key=KEY)
        grad = torch.linspace(-1, 2, x.numel(), dtype=torch.float64).sin().reshape(x.shape).to(x.dtype)
        return torch.autograd.grad(x, leaves, grad)


def of_row(make, *values):
    looped, operations = (gradients(make, backend, *values) for backend in ("compiled", "reference"))
    eps = torch.finfo(values[0].dtype).eps
    # Sums of terms that cancel: over a row and, of the temperature, over all of them.
    scale = max(expected.abs().max().item() for expected in operations)
    for ours, expected in zip(looped, operations, strict=True):
        assert ours.dtype == values[0].dtype
        torch.testing.assert_close(ours, expected, rtol=16 * eps, atol=128 * eps * scale)


def weights(shape, dtype):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(shape, generator=generator, dtype=torch.float64).mul_(2).add_(0.1).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["logits", "probs"])
@pytest.mark.parametrize("family", [dist.RelaxedOneHotCategorical, dist.ExpRelaxedCategorical])
def test_relaxed(family, name, shape, dtype):
    assert compiled.available(dtype)
    t = torch.tensor(0.6, dtype=dtype)
    of_row(lambda w, t: family(t, **{name: w}), weights(shape, dtype), t)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["logits", "probs"])
def test_straight_through(name, shape, dtype):
    of_row(lambda w: dist.OneHotCategoricalStraightThrough(**{name: w}), weights(shape, dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_dirichlet(shape, dtype):
    of_row(dist.Dirichlet, weights(shape, dtype))


def test_rows_that_are_summed():
    logits, t = weights((4,), torch.float64), torch.tensor([0.6], dtype=torch.float64)
    of_row(lambda w, t: dist.RelaxedOneHotCategorical(t, logits=w).expand((5,)), logits, t)
    of_row(lambda w: dist.OneHotCategoricalStraightThrough(logits=w).expand((5,)), logits)
    of_row(lambda w: dist.Dirichlet(w).expand((5,)), logits)


def test_only_what_is_asked_for():
    logits, t = weights((3, 4), torch.float64), torch.tensor(0.6, dtype=torch.float64)
    whole = gradients(lambda w, t: dist.ExpRelaxedCategorical(t, logits=w), "compiled", logits, t)
    (of_logits,) = gradients(lambda w: dist.ExpRelaxedCategorical(t, logits=w), "compiled", logits)
    (of_temperature,) = gradients(lambda t: dist.ExpRelaxedCategorical(t, logits=logits), "compiled", t)
    torch.testing.assert_close((of_logits, of_temperature), whole, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extremes(dtype):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e30, 0.0, 0.0], [-torch.inf, 1.0, 2.0]], dtype=dtype)
    # A coordinate that underflows counts as the least normal number in the temperature's gradient.
    t = torch.tensor(1e-3, dtype=dtype)
    assert (dist.RelaxedOneHotCategorical(t, logits=logits).rsample(key=KEY) == 0).any()
    of_row(lambda t: dist.RelaxedOneHotCategorical(t, logits=logits), t)
    of_row(lambda w: dist.OneHotCategoricalStraightThrough(logits=w), logits)
    of_row(dist.OneHotCategoricalStraightThrough, torch.tensor([[0.0, 1.0, 3.0], [1e-30, 0.0, 1e30]], dtype=dtype))
