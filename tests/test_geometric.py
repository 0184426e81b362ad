"""The geometric distribution at the ends of its parameter's range."""

from __future__ import annotations

import pytest
import torch

from rsample.distributions.geometric import Geometric

KEY = torch.tensor([1, 2], dtype=torch.uint64)
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_certain_success_has_no_failure(dtype):
    x, log_prob = Geometric(torch.ones(2**13, dtype=dtype, requires_grad=True)).sample_with_log_prob(key=KEY)
    assert (x == 0).all()
    assert (log_prob == 0).all()
    logits = torch.tensor([20.0, 100.0, 6e4], dtype=dtype).requires_grad_()
    x, log_prob = Geometric(logits=logits).sample_with_log_prob((1000,), key=KEY)
    assert (x == 0).all()
    (grad,) = torch.autograd.grad(log_prob.sum(), logits)
    assert grad.isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rare_success_stays_finite_and_whole(dtype):
    tiny = max(torch.finfo(dtype).smallest_normal, 1e-36)
    for d in (
        Geometric(torch.tensor([tiny, 1e-4, 0.3], dtype=dtype)),
        Geometric(logits=torch.tensor([-80.0, -10.0, 0.0], dtype=dtype)),
    ):
        x = d.sample((5000,), key=KEY)
        assert x.isfinite().all()
        assert (x == x.floor()).all()
        assert (x >= 0).all()


def test_small_probabilities_keep_their_digits():
    for p in (1e-3, 1e-6, 1e-12, 1e-30):
        # X p is nearly exponential.
        for d in (Geometric(torch.tensor(p)), Geometric(logits=torch.tensor(p, dtype=torch.float64).logit().float())):
            scaled = d.sample((15_000,), key=KEY).double() * p
            assert abs(scaled.mean().item() - 1) < 0.04
            assert abs((scaled > 1).double().mean().item() - 0.36788) < 0.02


def test_score_where_success_is_certain():
    probs = torch.tensor([1.0, 0.5], requires_grad=True)
    x, log_prob = Geometric(probs).sample_with_log_prob((100,), key=KEY)
    (ours,) = torch.autograd.grad(log_prob.sum(), probs)
    expected = torch.stack((torch.tensor(100.0), (1 / 0.5 - x[:, 1] / 0.5).sum()))
    torch.testing.assert_close(ours, expected)
