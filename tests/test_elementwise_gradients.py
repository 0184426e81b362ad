"""The kernels' gradients against the reference in float64, and that they are the same bits every time."""

import numpy as np
import pytest
import torch
from kernel_cases import NOISE_BOUND, packed, values

from rsample.kernels.engines.eager import elementwise as reference
from rsample.kernels.engines.triton import elementwise
from rsample.kernels.laws.normal import NORMAL_LAW
from rsample.kernels.laws.uniform import UNIFORM_LAW
from rsample.kernels.stream import layout
from rsample.kernels.stream.noise import compute_dtype

pytestmark = pytest.mark.kernel


def check_backward(law, params, grad, needs=(True, True)):
    """Gradients against the reference in float64, with what rounding of a sum of float32 numbers explains."""
    ours = elementwise.backward(law, (packed(),), (grad,), params, needs)
    compute = compute_dtype(grad.dtype)
    # The noise is that of the sample's dtype, so the reference keeps the dtype and only sums in float64.
    noise = reference.noise(law.noise, packed().view(torch.int64), grad.numel(), grad.dtype).reshape(grad.shape)
    exact = law.reference_grad(noise.double(), grad.cpu().double(), *(p.cpu().double() for p in params))
    wanted = [j for j, needed in enumerate(needs) if needed]
    assert len(ours) == len(wanted)
    for g, j in zip(ours, wanted, strict=True):
        assert g.shape == params[j].shape
        assert g.dtype == params[j].dtype
        terms = grad.numel() // max(g.numel(), 1)
        total = exact[j].abs().sum_to_size(g.shape)
        # Noise within its bound; 8 + log2(terms) roundings of the absolute sum, a tree; the rounding of the result.
        atol = grad.cpu().double().abs().sum_to_size(g.shape) * NOISE_BOUND[compute]
        atol = atol + total * torch.finfo(compute).eps * (8 + np.log2(terms))
        expected = exact[j].sum_to_size(g.shape)
        atol = atol + expected.abs() * torch.finfo(g.dtype).eps
        assert ((g.cpu().double() - expected).abs() <= atol).all()
    again = elementwise.backward(law, (packed(),), (grad,), params, needs)
    assert all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))


BROADCASTS = [
    pytest.param((3, 4000), (3, 4000), (), id="dense and scalar"),
    pytest.param((7, 30, 24), (24,), (30, 1), id="leading and trailing"),
    pytest.param((7, 30, 25), (25,), (30, 1), id="leading and trailing, odd"),
    pytest.param((7, 30, 24), (7, 1, 24), (1, 30, 1), id="mixed"),
    pytest.param((2, 3000), (3000,), (2, 1), id="wide"),
    pytest.param((900, 2), (2,), (900, 1), id="narrow"),
    pytest.param((1, 60, 1, 50), (60, 1, 1), (50,), id="with dimensions of size 1"),
]


@pytest.mark.parametrize(("shape", "first", "second"), BROADCASTS)
@pytest.mark.parametrize("law", [NORMAL_LAW, UNIFORM_LAW], ids=lambda m: m.name)
def test_gradients(law, shape, first, second, device):
    params = [values(s, torch.float32, device, seed=j) for j, s in enumerate((first, second))]
    check_backward(law, params, values(shape, torch.float32, device, low=-1, high=2, seed=5))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_gradients_in_other_dtypes(dtype, device):
    for shape, first, second in [((3, 4000), (3, 4000), ()), ((7, 30, 24), (24,), (30, 1))]:
        params = [values(s, dtype, device, seed=j) for j, s in enumerate((first, second))]
        check_backward(NORMAL_LAW, params, values(shape, dtype, device, low=-1, high=2, seed=5))


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(()).expand(6, 20, 32),
        lambda: torch.randn(20, 32, generator=torch.Generator().manual_seed(1)).expand(6, 20, 32),
        lambda: torch.randn(32, 20, 6, generator=torch.Generator().manual_seed(1)).permute(2, 1, 0),
        lambda: torch.randn(6, 20, 33, generator=torch.Generator().manual_seed(1))[..., 1:],
    ],
    ids=["scalar", "expanded", "transposed", "sliced"],
)
def test_gradients_of_any_strides(make, device):
    grad = make().to(device).expand(6, 20, 32)
    dense, row, one = (values(s, torch.float32, device) for s in ((6, 20, 32), (32,), (1,)))
    check_backward(NORMAL_LAW, [row, dense], grad)
    check_backward(NORMAL_LAW, [row, one], grad, needs=(False, True))
    check_backward(NORMAL_LAW, [dense, row], grad, needs=(False, True))


def test_gradients_with_64_bit_indices(device, monkeypatch):
    monkeypatch.setattr(layout, "INT31", 1)
    monkeypatch.setattr("rsample.kernels.engines.triton.reduction.INT31", 1)
    params = [values((24,), torch.float32, device), values((30, 1), torch.float32, device)]
    check_backward(NORMAL_LAW, params, values((7, 30, 24), torch.float32, device))


def test_a_large_reduction_is_shared_out_among_programs(device, monkeypatch):
    monkeypatch.setattr("rsample.kernels.engines.triton.reduction._PROGRAMS", 8)
    params = [values((24,), torch.float32, device), values((500, 1), torch.float32, device)]
    check_backward(NORMAL_LAW, params, values((500, 24), torch.float32, device))
    monkeypatch.setattr("rsample.kernels.engines.triton.reduction._PROGRAMS", 64)
    params = [values((2, 1), torch.float32, device), values((1, 6_000), torch.float32, device)]
    check_backward(NORMAL_LAW, params, values((2, 6_000), torch.float32, device))
