"""Maps onto the simplex that keep only their result: values and derivatives are those of torch's operations."""

import pytest
import torch
from torch.distributions import StickBreakingTransform

from rsample.kernels.draws.rows.simplex import stick_breaking

INSIDE = torch.tensor([[0.3, -1.2, 0.9], [4.0, 0.0, -3.0]], dtype=torch.float64)
# Shares that torch clamps, after which next to nothing is left.
SATURATED = torch.tensor([[0.5, 900.0, 900.0, -900.0, 0.1]], dtype=torch.float64)


CASES = [
    (stick_breaking, StickBreakingTransform(), INSIDE),
    (stick_breaking, StickBreakingTransform(), SATURATED),
]
IDS = ["inside", "saturated"]


@pytest.mark.parametrize(("ours", "plain", "x"), CASES, ids=IDS)
def test_every_kind_of_derivative(ours, plain, x):
    weight = torch.linspace(-1.0, 2.0, plain(x).shape[-1], dtype=x.dtype)
    tangent = torch.linspace(0.5, -1.0, x.shape[-1], dtype=x.dtype).expand_as(x)

    def loss(f):
        return lambda x: (f(x) * weight).square().sum()

    assert torch.equal(ours(x), plain(x))
    for derivative in (
        lambda f: torch.func.jvp(f, (x,), (tangent,))[1],
        lambda f: torch.func.jacrev(f)(x),
        lambda f: torch.func.jacfwd(f)(x),
        lambda f: torch.func.hessian(loss(f))(x),
        lambda f: torch.func.vmap(torch.func.grad(loss(f)))(x),
    ):
        # Some roundings of numbers below 4; in place of a clamped share's derivative of 0, one of 2**-52.
        torch.testing.assert_close(derivative(ours), derivative(plain), rtol=0, atol=2**-48)
    given = x.clone().requires_grad_()
    second = []
    for f in (ours, plain):
        (grad,) = torch.autograd.grad(loss(f)(given), given, create_graph=True)
        second.append(torch.autograd.grad(grad.square().sum(), given)[0])
    torch.testing.assert_close(*second, rtol=0, atol=2**-48)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_sticks_of_every_dtype(dtype):
    """Against float64 from the rounded x: the gradient is as exact as the result that it is a function of."""
    x = INSIDE.to(dtype).requires_grad_()
    wide = x.detach().double().requires_grad_()
    v = torch.tensor([1.0, -2.0, 0.5, 1.5])
    y = stick_breaking(x)
    assert torch.equal(y, StickBreakingTransform()(x))
    (grad,) = torch.autograd.grad(y, x, v.expand_as(y).to(dtype))
    (expected,) = torch.autograd.grad(StickBreakingTransform()(wide), wide, v.double().expand(2, 4))
    # torch computes y in its dtype, by about four roundings; derivatives are below 2 of them.
    torch.testing.assert_close(grad.double(), expected, rtol=0, atol=8 * torch.finfo(dtype).eps)


def test_traced_as_plain_operations():
    traced = torch.compile(stick_breaking, fullgraph=True, backend="eager")
    assert torch.equal(traced(INSIDE), StickBreakingTransform()(INSIDE))
