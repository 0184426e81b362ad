"""Softmax that keeps only its result: values and derivatives are those of softmax and clamp."""

import pytest
import torch

from rsample.kernels.rows.simplex import positive_softmax

# The last row has a coordinate that underflows in each dtype.
X = torch.tensor([[0.3, -1.2, 0.9], [4.0, 0.0, -3.0], [0.5, 0.0, -900.0]], dtype=torch.float64)
V = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.7, -1.0], [-1.0, 2.0, 1e4]], dtype=torch.float64)


def expected(x, dtype=torch.float64):
    return torch.softmax(x, -1).to(dtype).clamp(min=torch.finfo(dtype).tiny)


def ours(x, dtype=torch.float64):
    return positive_softmax(x, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_values_and_gradients(dtype):
    x = X.to(torch.float64 if dtype == torch.float64 else torch.float32).requires_grad_()
    y, z = ours(x, dtype), expected(x, dtype)
    assert torch.equal(y, z)
    assert y.min() == torch.finfo(dtype).tiny
    of_y, of_z = (torch.autograd.grad(s, x, V.to(dtype))[0] for s in (y, z))
    # Twice the rounding of the result, which is what is kept, times v and its mean: below 3 where y is not tiny.
    torch.testing.assert_close(of_y, of_z, rtol=0, atol=6 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("rows", [X[:2], X[2:]], ids=["inside", "raised"])
def test_every_kind_of_derivative(rows):
    """Against torch's own operations, whose rounding is the only difference."""
    v = torch.tensor([0.3, 0.7, -1.0], dtype=torch.float64).expand_as(rows)
    for transform in (
        lambda f: torch.func.jvp(f, (rows,), (v,))[1],
        lambda f: torch.func.jacrev(f)(rows),
        lambda f: torch.func.jacfwd(f)(rows),
        lambda f: torch.func.hessian(lambda x: (f(x) * v).sum())(rows),
        lambda f: torch.func.vmap(torch.func.grad(lambda x, w: (f(x) * w).sum()))(rows, v),
    ):
        torch.testing.assert_close(transform(ours), transform(expected), rtol=0, atol=1e-15)


def test_second_derivatives_by_autograd():
    assert torch.autograd.gradgradcheck(ours, X[:2].clone().requires_grad_())


def test_is_traced_as_plain_operations():
    compiled = torch.compile(ours, fullgraph=True, backend="eager")
    assert torch.equal(compiled(X), expected(X))
