"""The continuous Bernoulli distribution next to p = 1/2, and where one end takes all."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch.autograd import gradcheck, gradgradcheck

from rsample.distributions.continuous_bernoulli import ContinuousBernoulli
from rsample.kernels.laws.continuous_bernoulli import from_logits_reference, from_logits_reference_grad

KEY = torch.tensor([1, 2], dtype=torch.uint64)
NOISE = [2.0**-33, 1e-7, 0.1, 0.4999, 0.5, -0.5, -0.3, -1e-3, -1e-7, -(2.0**-33)]
LOGITS = [0.0, 1e-30, 1e-12, 1e-4, 0.04, 0.051, 0.24, 0.26, 2.0, 14.0, 79.0, 81.0, 500.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_and_gradients_to_many_digits(dtype):
    mpmath = pytest.importorskip("mpmath")
    eps = torch.finfo(dtype).eps
    with mpmath.workdps(60):
        for logit in [sign * size for size in LOGITS for sign in (1, -1)]:
            noise, logits = torch.tensor(NOISE, dtype=dtype), torch.tensor(logit, dtype=dtype)
            x = from_logits_reference(noise, logits)
            (slope,) = from_logits_reference_grad(noise, torch.ones_like(noise), logits)
            m = mpmath.mpf(logits.item())
            for t, ours, ours_slope in zip(noise.tolist(), x.tolist(), slope.tolist(), strict=True):
                u = mpmath.mpf(t) if t > 0 else 1 + mpmath.mpf(t)
                expected, derivative = u, u * (1 - u) / 2
                if abs(m) > 1e-20:
                    expected = mpmath.log1p(u * mpmath.expm1(m)) / m
                    derivative = (mpmath.expm1(-m * expected) / mpmath.expm1(-m) - expected) / m
                assert abs(ours - expected) <= 8 * eps * abs(expected), (logit, t)
                # The derivative is a difference of numbers as large as the sample.
                bound = eps * (16 * abs(derivative) + 8 * abs(expected) / max(abs(m), 0.25 if eps > 1e-10 else 0.02))
                assert abs(ours_slope - derivative) <= bound, (logit, t)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_samples_stay_inside(dtype):
    logits = torch.tensor([-1e4, -200.0, -20.0, 0.0, 20.0, 200.0, 1e4], dtype=dtype)
    x, log_prob = ContinuousBernoulli(logits=logits).sample_with_log_prob((2000,), key=KEY)
    assert ((x > 0) & (x < 1)).all()
    assert log_prob.isfinite().all()


def test_steep_samples_are_exponential():
    for logit in (-300.0, 300.0):
        x = ContinuousBernoulli(logits=torch.tensor(logit, dtype=torch.float64)).sample((16_000,), key=KEY)
        distance = x if logit < 0 else 1 - x
        assert stats.kstest(distance.numpy() * 300, "expon").pvalue > 1e-3


def test_derivatives_are_smooth_through_one_half():
    logits = torch.tensor([0.0, 1e-6, -0.01, 0.3, -5.0, 40.0], dtype=torch.float64, requires_grad=True)
    probs = torch.tensor([0.5, 0.4999, 0.52, 0.9], dtype=torch.float64, requires_grad=True)
    for param, make in ((logits, lambda p: ContinuousBernoulli(logits=p)), (probs, ContinuousBernoulli)):
        for function in (
            lambda p, make=make: make(p).rsample((3,), key=KEY),
            lambda p, make=make: make(p).rsample_with_log_prob((3,), key=KEY),
        ):
            assert gradcheck(function, param, check_forward_ad=True)
            assert gradgradcheck(function, param, atol=1e-4)
        x = make(param).sample((3,), key=KEY)
        assert gradcheck(lambda p, make=make, x=x: make(p).log_prob(x), param)


def test_log_prob_is_torchs_where_torch_has_not_clamped():
    logits = torch.linspace(-14, 14, 57)
    x = torch.rand(57, generator=torch.Generator().manual_seed(0))
    theirs = torch.distributions.ContinuousBernoulli(logits=logits).log_prob(x)
    torch.testing.assert_close(ContinuousBernoulli(logits=logits).log_prob(x), theirs, rtol=1e-3, atol=1e-3)
    probs = torch.linspace(0.01, 0.99, 57, dtype=torch.float64)
    theirs = torch.distributions.ContinuousBernoulli(probs).log_prob(x.double())
    torch.testing.assert_close(ContinuousBernoulli(probs).log_prob(x.double()), theirs)
