"""The examples of draws fused with what reads them, against plain torch and eager draws of the same key."""

import pytest
import torch

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.runtime.language import HAS_TRITON

if not HAS_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)

from fused.dropout_add import dropout_add
from fused.langevin import langevin_step
from fused.stochastic_rounding import descend

pytestmark = pytest.mark.kernel
# A tail, and several programs.
SHAPE = (7, 501)
SEED, OFFSET = 7, 2**40
KEY = torch.tensor([SEED, OFFSET], dtype=torch.uint64)


def numbers(seed, dtype=torch.float32, shape=SHAPE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def drawn(distribution):
    with use_backend("reference"):
        return distribution.sample(key=KEY)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_add(dtype, device):
    p = 0.3
    x, residual, grad = (numbers(seed, dtype) for seed in range(3))
    ours = [t.to(device).requires_grad_() for t in (x, residual)]
    out = dropout_add(*ours, p, (SEED, OFFSET))
    grads = torch.autograd.grad(out, ours, grad.to(device))
    theirs = [t.float().requires_grad_() for t in (x, residual)]
    kept = drawn(dist.Bernoulli(torch.full(SHAPE, 1 - p)))
    assert 0.68 < kept.mean() < 0.72  # its mean is off by less than 3 standard deviations in 997 of 1,000 keys
    expected = theirs[1] + theirs[0] * kept / (1 - p)
    expected_grads = torch.autograd.grad(expected, theirs, grad.float())
    eps = torch.finfo(dtype).eps
    for a, b in zip((out, *grads), (expected, *expected_grads), strict=True):
        torch.testing.assert_close(a.cpu(), b.to(dtype), rtol=2 * eps, atol=2 * eps)


def test_langevin_step(device):
    x, score, grad = (numbers(seed) for seed in range(3))
    a, b = torch.tensor(0.1), torch.tensor(0.4)
    ours = [t.to(device).requires_grad_() for t in (x, score, a, b)]
    out = langevin_step(*ours, (SEED, OFFSET))
    grads = torch.autograd.grad(out, ours, grad.to(device))
    theirs = [t.clone().requires_grad_() for t in (x, score, a, b)]
    expected = theirs[0] + theirs[2] * theirs[1] + theirs[3] * drawn(dist.Normal(torch.zeros(SHAPE), 1.0))
    expected_grads = torch.autograd.grad(expected, theirs, grad)
    torch.testing.assert_close(out.cpu(), expected, rtol=1e-6, atol=1e-5)  # the noise's own 2e-5, times b
    for ours_grad, theirs_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(ours_grad.cpu(), theirs_grad, rtol=1e-5, atol=1e-3)  # of sums of 3,507 numbers


def test_stochastic_rounding_takes_one_of_two_neighbours_and_loses_nothing_on_average(device):
    n, rate = 2**15, 1e-3
    start, grad = torch.full((n,), 1.0, dtype=torch.bfloat16), torch.full((n,), 0.25, dtype=torch.bfloat16)
    parameter = start.clone().to(device)
    descend(parameter, grad.to(device), rate, (SEED, OFFSET))
    moved = parameter.cpu().float()
    exact, below = 1 - rate * 0.25, 1 - 2.0**-8
    assert set(moved.unique().tolist()) == {below, 1.0}
    # 16 random bits round 2**-16 of a unit down; a mean of 2**15 is off by more than 4 standard deviations for 1 key in
    # 16,000.
    share = (1 - exact) / (1 - below)
    deviation = (share * (1 - share) / n) ** 0.5
    assert abs((moved == below).double().mean().item() - share) < 4 * deviation + 2.0**-16
    # To the nearest number nothing would have moved.
    assert ((start.float() - rate * grad.float()).to(torch.bfloat16) == start).all()


def test_stochastic_rounding_keeps_what_is_not_finite(device):
    parameter = torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0] * 2, dtype=torch.bfloat16)
    moved = parameter.clone().to(device)
    descend(moved, torch.zeros_like(moved), 1.0, (SEED, OFFSET))
    torch.testing.assert_close(moved.cpu(), parameter, rtol=0, atol=0, equal_nan=True)
