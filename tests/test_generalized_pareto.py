"""The generalized Pareto distribution next to concentration 0, and at the end of its support."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch.autograd import gradcheck, gradgradcheck

from rsample.distributions.generalized_pareto import GeneralizedPareto

KEY = torch.tensor([1, 2], dtype=torch.uint64)


def double(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_derivatives_are_smooth_through_concentration_zero():
    params = double(0.5, 0.0), double(1.5, 0.7), double(0.0, 1e-9)
    for function in (
        lambda *p: GeneralizedPareto(*p).rsample((3,), key=KEY),
        lambda *p: GeneralizedPareto(*p).rsample_with_log_prob((3,), key=KEY),
    ):
        assert gradcheck(function, params, check_forward_ad=True)
        assert gradgradcheck(function, params)
    x = GeneralizedPareto(*params).sample((3,), key=KEY)
    assert gradcheck(lambda *p: GeneralizedPareto(*p, validate_args=False).log_prob(x), params)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiny_concentrations_change_nothing(dtype):
    tiny = torch.tensor([0.0, 1e-38, -1e-30, 1e-21, 1e-19, -1e-12], dtype=dtype, requires_grad=True)
    d = GeneralizedPareto(torch.zeros((), dtype=dtype), 2.0, tiny.reshape(-1, 1).expand(-1, 1000))
    x, log_prob = d.sample_with_log_prob(key=KEY)
    exponential = torch.distributions.Exponential(torch.tensor(0.5, dtype=dtype))
    torch.testing.assert_close(log_prob, exponential.log_prob(x))
    torch.testing.assert_close(d.log_prob(x), exponential.log_prob(x))
    (ours,) = torch.autograd.grad(log_prob.sum(), tiny, retain_graph=True)
    (theirs,) = torch.autograd.grad(d.log_prob(x).sum(), tiny)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-2)


def test_score_and_log_prob_are_scipys():
    for c in (-1.3, -0.4, -1e-3, 0.3, 2.0):
        params = double(0.5), double(1.5), double(c)
        d = GeneralizedPareto(*params)
        x, log_prob = d.sample_with_log_prob((200,), key=KEY)
        expected = stats.genpareto(c, loc=0.5, scale=1.5).logpdf(x.squeeze(-1).numpy())
        torch.testing.assert_close(log_prob.squeeze(-1).detach(), torch.tensor(expected), rtol=1e-6, atol=1e-6)
        ours = torch.autograd.grad(log_prob.sum(), params, retain_graph=True)
        # In float64 the sample's rounding counts next to the end of the support.
        torch.testing.assert_close(ours, torch.autograd.grad(d.log_prob(x).sum(), params), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("c", [-0.5, -1.0, -2.0, -3.7])
def test_no_sample_passes_the_end_of_the_support(c, dtype):
    d = GeneralizedPareto(torch.tensor(0.3, dtype=dtype), 1.7, c)
    x = d.sample((16_000,), key=KEY)
    assert d.support.check(x).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_heavy_tails_stay_finite(dtype):
    x = GeneralizedPareto(torch.zeros((), dtype=dtype), 1.0, 50.0).sample((16_000,), key=KEY)
    assert x.isfinite().all()
    assert x.max() == torch.finfo(dtype).max
