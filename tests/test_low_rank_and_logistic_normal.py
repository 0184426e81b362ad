"""LowRankMultivariateNormal and LogisticNormal against torch.distributions for the same noise."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
import torch.distributions as td
from test_multivariate_normal import KEY, noise, random, times
from torch.autograd import gradcheck, gradgradcheck

import rsample.distributions as dist
from rsample.kernels import use_backend

vmap = torch.func.vmap


@pytest.fixture(autouse=True)
def _validating(monkeypatch):
    """torch.compile turns validation off for the rest of the process."""
    monkeypatch.setattr(td.Distribution, "_validate_args", True)


def low_rank(batch=(3,), of_loc=(3,), n=5, rank=2, dtype=torch.float64):
    """loc, cov_factor and cov_diag that want gradients."""
    tensors = (
        random(*of_loc, n).to(dtype),
        random(*batch, n, rank, seed=1).to(dtype),
        (random(*of_loc, n, seed=2).abs() + 0.3).to(dtype),
    )
    return [t.requires_grad_() for t in tensors]


def plain(params, shape):
    """The sample from the oracle's noise, in float64 torch operations."""
    loc, factor, diag = (p.double() for p in params)
    dtype = params[0].dtype
    own, eps = noise(KEY, shape, dtype), noise(KEY, (*shape[:-1], factor.shape[-1]), dtype, stream=1)
    return loc + times(factor, eps) + diag.sqrt() * own


# torch.distributions' constructor factors a matrix, which halves cannot.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_values_are_the_oracles(dtype, backend):
    eps = torch.finfo(dtype).eps
    for batch, of_loc, n, rank in (((), (), 3, 1), ((3,), (3,), 5, 2), ((3, 1), (4,), 6, 7), ((), (), 400, 16)):
        params = low_rank(batch, of_loc, n, rank, dtype)
        d = dist.LowRankMultivariateNormal(*params)
        with use_backend(backend):
            x = d.sample((70,), key=KEY)
            assert torch.equal(x, d.rsample((70,), key=KEY))
        assert x.dtype == dtype
        expected = plain(params, x.shape).detach()
        torch.testing.assert_close(
            x.double(), expected, rtol=2 * eps, atol=max(9 * eps, 5e-5 if eps > 1e-10 else 1e-13)
        )


@pytest.mark.parametrize(("batch", "of_loc"), [((), ()), ((3,), (3,)), ((2, 1), (3,))])
def test_gradients_equal_torchs(batch, of_loc):
    params = low_rank(batch, of_loc)
    ours, theirs = dist.LowRankMultivariateNormal(*params), td.LowRankMultivariateNormal(*params)
    x, log_prob = ours.sample_with_log_prob((4,), key=KEY)
    assert not x.requires_grad
    torch.testing.assert_close(log_prob, theirs.log_prob(x))
    y, log_prob = ours.rsample_with_log_prob((4,), key=KEY)
    z = plain(params, y.shape)
    torch.testing.assert_close(y, z)
    weight = random(*y.shape, seed=9)
    results = [
        torch.autograd.grad((value * weight).sum() + density.sum(), params, retain_graph=True)
        for value, density in ((y, log_prob), (z, theirs.log_prob(z)))
    ]
    torch.testing.assert_close(*results)


def test_every_derivative():
    params = low_rank((2, 1), (3,), 3, 2)

    def draw(*params):
        return dist.LowRankMultivariateNormal(*params, validate_args=False).rsample((2,), key=KEY)

    assert gradcheck(draw, params, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    assert gradgradcheck(draw, params)


@pytest.mark.parametrize("randomness", ["different", "same"])
def test_vmap_and_per_example_gradients(randomness):
    params = [p.detach() for p in low_rank()]

    def loss(*params):
        x = dist.LowRankMultivariateNormal(*params, validate_args=False).rsample((2,), key=KEY)
        return (x**3).sum(), x

    ours, x = vmap(torch.func.grad(loss, argnums=(0, 1, 2), has_aux=True), randomness=randomness)(*params)
    full = [p.clone().requires_grad_() for p in params]
    own, eps = noise(KEY, x.shape, torch.float64), noise(KEY, (3, 2, 2), torch.float64, stream=1)
    if randomness == "same":
        own, eps = own[:1], noise(KEY, (2, 2), torch.float64, stream=1)[None]
    loc, factor, diag = (p[:, None] for p in full)
    expected = loc + times(factor, eps) + diag.sqrt() * own
    torch.testing.assert_close(x, expected)
    torch.testing.assert_close(ours, torch.autograd.grad((expected**3).sum(), full))


def test_compiled_draws_equal_eager_ones():
    torch._dynamo.reset()
    params = low_rank(dtype=torch.float32)

    def draw(*params):
        return dist.LowRankMultivariateNormal(*params, validate_args=False).rsample((2,), key=KEY)

    results = []
    for function in (draw, torch.compile(draw, fullgraph=True)):
        x = function(*params)
        results.append((x, *torch.autograd.grad(x.square().sum(), params)))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


def test_opcheck():
    params = [p.detach().requires_grad_() for p in low_rank(dtype=torch.float32)]
    operator = torch.ops.rsample.low_rank_multivariate_normal.default
    torch.library.opcheck(operator, ([KEY], *params, (2, 3, 5), torch.float32))


def test_mean_and_covariance_of_low_rank():
    """n = 2**16 at a fixed key: 6 and 21 moments within 5 standard errors (chance: 27 * 5.7e-7)."""
    n, params = 2**16, low_rank((), (), 6, 2, torch.float32)
    d = dist.LowRankMultivariateNormal(*params)
    x = d.sample((n,), key=KEY).double()
    sigma = d.covariance_matrix.detach().double().numpy()
    assert (np.abs((x.mean(0) - d.loc).detach().numpy()) / np.sqrt(np.diag(sigma) / n)).max() < 5
    spread = np.sqrt((sigma**2 + np.outer(np.diag(sigma), np.diag(sigma))) / n)
    assert (np.abs(torch.cov(x.T).numpy() - sigma) / spread).max() < 5


def test_low_rank_is_otherwise_torchs():
    params = low_rank()
    ours, theirs = dist.LowRankMultivariateNormal(*params), td.LowRankMultivariateNormal(*params)
    assert isinstance(ours, td.LowRankMultivariateNormal)
    for attribute in ("mean", "variance", "covariance_matrix", "precision_matrix", "scale_tril"):
        torch.testing.assert_close(getattr(ours, attribute), getattr(theirs, attribute))
    sample = ours.sample(key=KEY)
    detached = dist.LowRankMultivariateNormal(*(p.detach() for p in params))
    for same in (copy.deepcopy(detached), pickle.loads(pickle.dumps(detached)), ours.expand((3,))):
        assert torch.equal(same.sample(key=KEY), sample)
    assert type(ours.expand((5, 3))) is dist.LowRankMultivariateNormal
    assert torch.equal(ours.expand((5, 3)).sample(key=KEY), ours.sample((5,), key=KEY))
    one, two = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    assert torch.equal(ours.sample(generator=one), ours.sample(generator=two))


def test_low_rank_errors_name_the_argument():
    with pytest.raises(RuntimeError, match=r"cov_factor of shape \(3, 1\)"):
        dist.LowRankMultivariateNormal(torch.zeros(2), torch.ones(3, 1), torch.ones(2))
    with pytest.raises(ValueError, match="cov_diag"):
        dist.LowRankMultivariateNormal(torch.zeros(2), torch.ones(2, 1), torch.full((2,), -9.0))
    with pytest.raises(ValueError, match="key has shape"):
        dist.LowRankMultivariateNormal(torch.zeros(2), torch.ones(2, 1), torch.ones(2)).sample(key=torch.zeros(2))


# -- logistic normal


@pytest.mark.parametrize("batch", [(), (2,)])
def test_logistic_normal(batch):
    loc, scale = random(*batch, 3).requires_grad_(), (random(*batch, 3, seed=1).abs() + 0.5).requires_grad_()
    ours, theirs = dist.LogisticNormal(loc, scale), td.LogisticNormal(loc, scale)
    assert isinstance(ours, td.LogisticNormal)
    assert (ours.batch_shape, ours.event_shape, ours.has_rsample) == (theirs.batch_shape, theirs.event_shape, True)
    eps = noise(KEY, (4, *batch, 3), torch.float64)
    expected = td.StickBreakingTransform()(loc + scale * eps)
    x, log_prob = ours.rsample_with_log_prob((4,), key=KEY)
    torch.testing.assert_close(x, expected)
    assert torch.equal(ours.rsample((4,), key=KEY), x)
    torch.testing.assert_close(log_prob, theirs.log_prob(expected))
    results = [
        torch.autograd.grad((value * value).sum() + density.sum(), (loc, scale), retain_graph=True)
        for value, density in ((x, log_prob), (expected, theirs.log_prob(expected)))
    ]
    torch.testing.assert_close(*results)
    y, score = ours.sample_with_log_prob((4,), key=KEY)
    assert torch.equal(y, x)
    assert not y.requires_grad
    torch.testing.assert_close(score, theirs.log_prob(y))


def test_logistic_normal_is_otherwise_torchs():
    loc, scale = random(2, 3), random(2, 3, seed=1).abs() + 0.5
    ours = dist.LogisticNormal(loc, scale)
    sample = ours.sample(key=KEY)
    assert torch.equal(ours.loc, loc)
    assert torch.equal(ours.scale, scale)
    for same in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), ours.expand((2,))):
        assert torch.equal(same.sample(key=KEY), sample)
    assert type(ours.expand((5, 2))) is dist.LogisticNormal
    assert torch.equal(ours.expand((5, 2)).sample(key=KEY), ours.sample((5,), key=KEY))
    assert dist.LogisticNormal(0.0, 1.0).sample((3,)).shape == td.LogisticNormal(0.0, 1.0).sample((3,)).shape
    with pytest.raises(ValueError, match="Expected parameter scale"):
        dist.LogisticNormal(torch.zeros(2), -torch.ones(2))
    with pytest.raises(RuntimeError, match="loc of shape"):
        dist.LogisticNormal(torch.zeros(2), torch.ones(3))
    assert math.isclose(sample.sum().item(), 2.0)


def test_a_diagonal_of_zeros_draws_from_the_factor_alone():
    """torch's constructor divides by it; here only a density does. With validation on it is refused by its name."""
    loc, factor, _ = (p.detach() for p in low_rank())
    diag = torch.zeros_like(loc)
    d = dist.LowRankMultivariateNormal(loc, factor, diag, validate_args=False)
    torch.testing.assert_close(d.sample((4,), key=KEY), plain((loc, factor, diag), (4, 3, 5)))
    assert d.expand((2, 3)).sample().shape == (2, 3, 5)
    with pytest.raises(ValueError, match="cov_diag"):
        dist.LowRankMultivariateNormal(loc, factor, diag)
