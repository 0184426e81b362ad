"""Loops over rows on the CPU against the torch operations that they stand for, and where they do not stand for them."""

import pytest
import torch
from torch.distributions import StickBreakingTransform
from torch.utils._python_dispatch import TorchDispatchMode

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.draws.matrices import bartlett, onion
from rsample.kernels.draws.rows import simplex

KEY = torch.tensor([20_26, 2**32 - 5], dtype=torch.uint64)
DTYPES = [torch.float32, torch.float64]


def random(*shape, dtype, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def tolerance(dtype, roundings):
    return {"rtol": roundings * torch.finfo(dtype).eps, "atol": roundings * torch.finfo(dtype).eps}


@pytest.fixture(autouse=True)
def run(monkeypatch):
    """The names of the loops that have run."""
    names = []
    for module in (simplex, onion, bartlett):
        loops = module._LOOPS

        def find(*tensors, find=loops.find):
            found = find(*tensors)
            return None if found is None else lambda name, *numbers: names.append(name) or found(name, *numbers)

        if loops.find(torch.ones(1)) is None:
            pytest.skip("no C++ compiler")
        monkeypatch.setattr(loops, "find", find)
    return names


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (4,), (3, 2, 5), (300, 200)], ids=str)
def test_stick_breaking(shape, dtype, run):
    x = random(*shape, dtype=dtype) * 3
    if x.numel() > 20:
        x[0, ..., 1], x[1, ..., 0], x[1, ..., -1] = 200.0, -200.0, torch.nan
    y = simplex.stick_breaking(x)
    expected = StickBreakingTransform()(x)
    # A product of up to 200 roundings of shares that are within some.
    torch.testing.assert_close(y, expected, **tolerance(dtype, 8 + 2 * shape[-1]), equal_nan=True)
    leaf = x.clone().requires_grad_()
    grad = random(*y.shape, dtype=dtype, seed=1)
    (ours,) = torch.autograd.grad(simplex.stick_breaking(leaf), leaf, grad)
    assert run == ["stick_breaking", "stick_breaking", "stick_breaking_backward"]
    # The operations lose what a sum of many coordinates cancels.
    (wide,) = torch.autograd.grad(StickBreakingTransform()(w := x.double().requires_grad_()), w, grad.double())
    torch.testing.assert_close(ours.double(), wide, **tolerance(dtype, 64 + 2 * shape[-1]), equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2,), (3, 3), (2, 4, 20), (3000, 5)], ids=str)
def test_onion(shape, dtype, run):
    squares = random(*shape, dtype=dtype).square().clamp(max=1.0)
    normals = random(*shape, shape[-1], dtype=dtype, seed=1)
    factors = onion.onion(squares, normals)
    assert run == ["onion"]
    # Next to a length of 1 the square root of what is left loses half of the digits.
    torch.testing.assert_close(
        factors, onion._by_operations(squares, normals), rtol=0, atol=8 * torch.finfo(dtype).eps ** 0.5
    )
    torch.testing.assert_close(
        factors.tril(-1), onion._by_operations(squares, normals).tril(-1), **tolerance(dtype, 16)
    )
    assert torch.equal(factors, factors.tril())
    torch.testing.assert_close(factors.square().sum(-1), torch.ones(shape, dtype=dtype), **tolerance(dtype, 8))


# The batch of the sample, of the factor.
BATCHES = [((), ()), ((7,), ()), ((7,), (1,)), ((2, 3), (3,)), ((2, 3, 4), (3, 1)), ((2000, 3), (3,))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "of_factor"), BATCHES, ids=str)
@pytest.mark.parametrize("p", [1, 3, bartlett.MOST_ROWS])
def test_bartlett(p, batch, of_factor, dtype, run):
    squares = random(*batch, p, dtype=dtype).square() * 3 + 0.1
    normals, factor = random(*batch, p, p, dtype=dtype, seed=1), random(*of_factor, p, p, dtype=dtype, seed=2)
    if p > 1:
        squares[..., -1] = 1e-12  # raised
    x = bartlett.bartlett(squares, normals, factor)
    leaves = [t.double().clone().requires_grad_() for t in (squares, factor)]
    # What is raised depends on the dtype.
    share = bartlett._LEAST_SHARE * torch.finfo(dtype).eps / torch.finfo(torch.float64).eps
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bartlett, "_LEAST_SHARE", share)
        expected = bartlett._by_operations(leaves[0], normals.double(), leaves[1])
    scale = expected.abs().max().item()
    torch.testing.assert_close(x.double(), expected, rtol=0, atol=4 * torch.finfo(dtype).eps * scale)
    assert torch.equal(x, x.mT)
    grad = random(*x.shape, dtype=dtype, seed=3)
    for given in (grad, grad.mT.contiguous().mT):
        ours = bartlett.bartlett_backward(given, squares, normals, factor)
        for a, b in zip(ours, torch.autograd.grad(expected, leaves, grad.double(), retain_graph=True), strict=True):
            assert a.shape == b.shape
            largest = b.abs().max().item()
            torch.testing.assert_close(a.double(), b, rtol=0, atol=32 * torch.finfo(dtype).eps * largest)
    assert run == ["bartlett", "bartlett_backward", "bartlett_backward"]


def test_larger_matrices_are_multiplied_by_a_library(run):
    p = bartlett.MOST_ROWS + 1
    d = dist.Wishart(p + 2.0, scale_tril=torch.eye(p))
    d.sample((3,))
    factor = torch.eye(p, requires_grad=True)
    dist.Wishart(p + 2.0, scale_tril=factor).rsample((3,)).sum().backward()
    assert run == []


class Seen(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


def test_what_is_watched_goes_by_operations(run):
    x = torch.zeros(2, 3)

    def by_operations(function):
        run.clear()
        function()
        assert run == []

    with Seen():
        by_operations(lambda: simplex.stick_breaking(x))
    with use_backend("reference"):
        by_operations(lambda: simplex.stick_breaking(x))
    by_operations(lambda: simplex.stick_breaking(x.bfloat16()))
    by_operations(lambda: simplex.stick_breaking(torch.zeros(0, 3)))
    by_operations(lambda: simplex.stick_breaking(torch.zeros(3, 4).T))
    by_operations(lambda: torch.func.vmap(simplex.stick_breaking)(x))
    by_operations(lambda: torch.func.jvp(simplex.stick_breaking, (x,), (x,)))
    by_operations(lambda: onion.onion(x, torch.zeros(2, 3, 3, dtype=torch.float64)))
    simplex.stick_breaking(x)
    assert run == ["stick_breaking"]


@pytest.mark.parametrize("sample_shape", [(), (5,), (0,)])
@pytest.mark.parametrize(("of_df", "of_factor"), [((), ()), ((3,), ()), ((), (3,)), ((3,), (2, 1)), ((3, 1), (3, 2))])
def test_wishart_gradients(of_df, of_factor, sample_shape):
    """Those of torch operations on the same chi-squared and normal numbers."""
    df = (random(*of_df, dtype=torch.float64).abs() + 4).requires_grad_()
    factor = (random(*of_factor, 3, 3, dtype=torch.float64, seed=1).tril(-1) + 2 * torch.eye(3)).requires_grad_()
    d = dist.Wishart(df, scale_tril=factor)

    def gradients():
        x = d.rsample(sample_shape, key=KEY)
        weights = random(*x.shape, dtype=torch.float64, seed=2)
        return x.detach(), *torch.autograd.grad((x * weights).sum(), (df, factor))

    ours = gradients()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rsample.distributions.wishart.has_loops", lambda *args: False)
        patch.setattr(bartlett._LOOPS, "find", lambda *tensors: None)
        expected = gradients()
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_wishart_draws_of_generators_and_second_derivatives(run):
    df = torch.tensor([5.0, 6.0], dtype=torch.float64, requires_grad=True)
    factor = torch.eye(2, dtype=torch.float64, requires_grad=True)
    d = dist.Wishart(df, scale_tril=factor)
    torch.manual_seed(3)
    x = d.sample((4,))
    torch.manual_seed(3)
    assert torch.equal(d.rsample((4,)), x)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    assert torch.equal(d.rsample((4,), generator=generators[0]), d.sample((4,), generator=generators[1]))
    assert set(run) == {"bartlett"}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = d.rsample((400,), key=KEY)
    assert sum(t.numel() for t in kept) == 2 + 2 + 2 + 4  # keys and parameters
    first = torch.autograd.grad(y.square().mean(), (df, factor), create_graph=True)
    plain = torch.autograd.grad(y.square().mean(), (df, factor), retain_graph=True)
    torch.testing.assert_close(tuple(g.detach() for g in first), plain)
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(sum(g.sum() for g in first), (df, factor)))
    eye = torch.eye(4, dtype=torch.float64).reshape(4, 2, 2)
    z = d.rsample(key=KEY)[0]
    (batched,) = torch.autograd.grad(z, factor, eye, is_grads_batched=True, retain_graph=True)
    one_by_one = [torch.autograd.grad(z, factor, grad, retain_graph=True)[0] for grad in eye]
    torch.testing.assert_close(batched, torch.stack(one_by_one))
