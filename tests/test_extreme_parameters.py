"""Parameters from the smallest subnormal number to the greatest finite one: draws and gradients are never NaN."""

import itertools

import pytest
import torch

import rsample.distributions as dist
from rsample.kernels import use_backend

KEY = torch.tensor([20261129, 9], dtype=torch.uint64)
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
NUMBERS = {"Gamma": 2, "Chi2": 1, "InverseGamma": 2, "Beta": 2, "FisherSnedecor": 2, "StudentT": 1, "Dirichlet": 3}


def extremes(dtype: torch.dtype) -> list[float]:
    info = torch.finfo(dtype)
    middle = [1e-200, 1e-154, 1e-38, 1e-30, 1e-19, 1e-3, 1.0, 3.0, 1e3, 1e20, 1e154]
    inside = [x for x in middle if info.smallest_normal < x < info.max]
    return [info.smallest_normal * info.eps, info.smallest_normal, *inside, info.max / 8, info.max]


@pytest.mark.parametrize("backend", ["reference", "compiled"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", NUMBERS)
def test_no_draw_and_no_gradient_is_nan(family, dtype, backend):
    rows = list(itertools.product(extremes(dtype), repeat=NUMBERS[family]))
    params = torch.tensor(rows, dtype=torch.float64).to(dtype).requires_grad_()
    with use_backend(backend):
        given = (params,) if family == "Dirichlet" else params.unbind(-1)
        x = getattr(dist, family)(*given, validate_args=False).rsample(key=KEY)
        (gradient,) = torch.autograd.grad(x[..., 0].sum() if family == "Dirichlet" else x.sum(), params)
    if family != "StudentT":
        assert torch.isfinite(x).all()
    assert not torch.isnan(x).any()
    assert not torch.isnan(gradient).any()
    if family in ("Beta", "Dirichlet"):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("backend", ["reference", "compiled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_beyond_the_usual_range(dtype, backend):
    tiny = torch.tensor([1e-19, 1e-30], dtype=dtype, requires_grad=True)
    huge = torch.tensor([1e20, 1e30], dtype=dtype, requires_grad=True)
    with use_backend(backend):
        for other in (tiny, torch.ones(2, dtype=dtype)):
            x = dist.Beta(tiny, other).rsample(key=KEY)
            # x is 0 or 1 to rounding, and stays.
            assert torch.equal(torch.autograd.grad(x.sum(), tiny)[0], torch.zeros_like(tiny))
        x = dist.Gamma(tiny, torch.ones((), dtype=dtype)).rsample(key=KEY)
        assert torch.equal(torch.autograd.grad(x.sum(), tiny)[0], torch.zeros_like(tiny))
        # dg/da = 1 + z / (2 sqrt(a)) + ...
        x = dist.Gamma(huge, torch.ones((), dtype=dtype)).rsample(key=KEY)
        torch.testing.assert_close(torch.autograd.grad(x.sum(), huge)[0], torch.ones_like(huge))
