"""Draws that are a matrix product, compiled on the CPU: values and gradients are those of the reference."""

import math

import pytest
import torch
from kernel_cases import packed

from rsample.kernels.engines.cpu import product as compiled
from rsample.kernels.engines.cpu import product_library as library
from rsample.kernels.engines.cpu.product import by_blas, row_steps
from rsample.kernels.engines.eager import product as reference
from rsample.kernels.engines.matrix_product import (
    LOW_RANK_MULTIVARIATE_NORMAL,
    MULTIVARIATE_NORMAL,
    MULTIVARIATE_NORMAL_WITH_NORM,
)

KINDS = [MULTIVARIATE_NORMAL_WITH_NORM, LOW_RANK_MULTIVARIATE_NORMAL]
KEY = packed()

# The batch of the sample, of the factor and of the other parameters.
BATCHES = [
    ((), (), ()),
    ((5,), (), ()),
    ((301,), (), (301,)),
    ((40,), (40,), (40,)),
    ((4, 3), (3,), (3,)),
    ((2, 3, 70), (3, 1), (70,)),
    ((2, 3, 30), (3, 1), (2, 1, 1)),
    ((2, 3, 4, 5), (3, 1, 5), (3, 4, 1)),
    ((3, 0), (3, 1), ()),
]


@pytest.fixture(autouse=True)
def _compiled(monkeypatch):
    if not library.available(torch.float32):
        pytest.skip("no C++ compiler")

    def full_of_nan(shape, dtype):
        return torch.full(tuple(shape), torch.nan, dtype=dtype)

    monkeypatch.setattr(compiled, "empty", full_of_nan)


def random(*shape, seed):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def parameters(kind, n, of_factor, of_others, dtype, rank=5):
    """Random ones; what lies above the diagonal of a triangle is NaN."""
    loc, scale = random(*of_others, n, seed=1).to(dtype), random(*of_others, n, seed=2).to(dtype)
    factor = random(*of_factor, n, n if kind.triangular else rank, seed=3).to(dtype)
    if not kind.triangular:
        return [loc, factor, scale]
    return [loc, torch.where(torch.ones(n, n).triu(1) == 1, torch.nan, factor)]


def check(kind, shape, params):
    """Forward and backward against the reference in the compute dtype.

    A sum of k products of noise that differs by a few units in the last place is close by its largest addends: the
    tolerance is of the largest result.
    """
    dtype = params[0].dtype
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    clean = [p.to(compute).nan_to_num() for p in params]
    grad = random(*shape, seed=4).to(dtype)
    needs = [True] * len(params)
    ours = (*compiled.forward(kind, KEY, params, shape, dtype), *compiled.backward(kind, KEY, grad, params, needs))
    expected = (
        *reference.forward(kind, "reference", KEY, clean, shape, compute),
        *reference.backward(kind, "reference", KEY, grad.to(compute), clean, needs),
    )
    tolerance = 2 * torch.finfo(dtype).eps + (1e-13 if compute == torch.float64 else 2e-6)
    for a, b in zip(ours, expected, strict=True):
        assert (a.dtype, a.shape, a.is_contiguous()) == (dtype, b.shape, True)
        scale = b.abs().max().item() if b.numel() else 0.0
        torch.testing.assert_close(a.to(compute), b, rtol=tolerance, atol=tolerance * scale)
    return ours


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("batch", "of_factor", "of_others"), BATCHES, ids=str)
def test_every_layout(kind, dtype, batch, of_factor, of_others):
    for n in (1, 2, 3, 8, 16, 17, 70) if dtype.itemsize >= 4 else (3, 33):
        check(kind, (*batch, n), parameters(kind, n, of_factor, of_others, dtype))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_any_strides(kind):
    for n in (3, 33):
        for batch, of_factor in (((40,), ()), ((9,), (9,)), ((2, 3, 40), (3, 1))):
            loc, factor, *scale = parameters(kind, n, of_factor, batch[-1:], torch.float32)
            expected = check(kind, (*batch, n), [loc, factor, *scale])
            by_columns = factor.mT.contiguous().mT
            strided = torch.full((*factor.shape[:-1], 2 * factor.shape[-1]), torch.nan)[..., ::2].copy_(factor)
            for other in (by_columns, strided):
                reordered = [p.mT.contiguous().mT for p in (loc, *scale)]
                for a, b in zip(check(kind, (*batch, n), [reordered[0], other, *reordered[1:]]), expected, strict=True):
                    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        loc, factor, *scale = parameters(kind, n, (), (), torch.float32)
        check(kind, (6, n), [loc, factor.expand(6, *factor.shape), *scale])


@pytest.mark.parametrize("grad", [torch.ones(()), torch.rand(30, 40).t()], ids=["expanded", "transposed"])
def test_any_gradient(grad):
    params = parameters(MULTIVARIATE_NORMAL, 30, (), (), torch.float32)
    grad = grad.expand(40, 30)
    (ours,) = compiled.backward(MULTIVARIATE_NORMAL, KEY, grad, params, (False, True))
    (same,) = compiled.backward(MULTIVARIATE_NORMAL, KEY, grad.contiguous(), params, (False, True))
    assert torch.equal(ours, same)
    assert torch.equal(ours, ours.tril())


@pytest.mark.parametrize("by_columns", [False, True])
def test_one_row_in_parts_and_many_partial_sums(by_columns):
    for kind in (MULTIVARIATE_NORMAL, LOW_RANK_MULTIVARIATE_NORMAL):
        for shape in ((1, 1100), (2, 700), (5000, 3), (3000, 40)):
            loc, factor, *scale = parameters(kind, shape[-1], (), (), torch.float32, rank=400 if shape[0] == 1 else 20)
            check(kind, shape, [loc, factor.mT.contiguous().mT if by_columns else factor, *scale])


@pytest.mark.parametrize(
    ("shape", "of_factor"),
    [((5000, 3), ()), ((3000, 40), ()), ((1000, 16), (1000,)), ((7, 100, 16), (100,)), ((1, 1100), ())],
)
def test_threads_change_no_bit(shape, of_factor):
    kind = MULTIVARIATE_NORMAL_WITH_NORM
    params = parameters(kind, shape[-1], of_factor, of_factor, torch.float32)
    grad = random(*shape, seed=4).float()
    assert not by_blas(row_steps(shape[:-1], (False,) * (len(shape) - 2) + (of_factor != (),), ()), *[shape[-1]] * 2)
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            sample = compiled.forward(kind, KEY, params, shape, torch.float32)
            results.append((*sample, *compiled.backward(kind, KEY, grad, params, (False, True))))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_rows_of_a_batch():
    # Samples (7, 2) of a batch (3, 5) whose factor has a batch (3, 1), and loc (5,).
    own = (False, False, True, False)
    rows = row_steps((7, 2, 3, 5), own, ((0, 0, 0, 4), (0, 0, 16, 0)))
    assert rows == ((14, 3, 5), ((0, 0, 4), (0, 16, 0)))
    # loc of shape (2, 3, 5) repeats along the first of two dimensions.
    assert row_steps((7, 2, 3, 5), own, ((0, 60, 20, 4), (0, 0, 16, 0))) is None
    assert row_steps((2, 3, 4), (True, False, True), ()) is None
    assert row_steps((2, 1, 4), (True, False, True), ()) == ((1, 8, 1), ())
    assert row_steps((), (), ((), ())) == ((1, 1, 1), ((0, 0, 0), (0, 0, 0)))


def test_matrices_of_no_size():
    for n, rank in ((0, 2), (3, 0)):
        check(
            LOW_RANK_MULTIVARIATE_NORMAL,
            (4, n),
            parameters(LOW_RANK_MULTIVARIATE_NORMAL, n, (), (), torch.float32, rank),
        )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_without_a_library_and_by_blas(kind, monkeypatch):
    shape = (1040, 20)
    params = parameters(kind, 20, (), (), torch.float32)
    expected = check(kind, shape, params)
    monkeypatch.setattr(compiled, "by_blas", lambda rows, n, k: True)
    blas = check(kind, shape, params)
    for name in ("forward", "backward"):
        monkeypatch.setattr(library, name, lambda compute: None)
    for a, b, c in zip(check(kind, shape, params), blas, expected, strict=True):
        scale = math.sqrt(shape[0]) * 1e-5
        torch.testing.assert_close(a, c, rtol=1e-5, atol=scale)
        torch.testing.assert_close(b, c, rtol=1e-5, atol=scale)
