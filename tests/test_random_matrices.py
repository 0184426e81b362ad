"""Wishart and LKJCholesky: their laws, gradients and keys."""

import numpy as np
import pytest
import torch
from scipy import stats

import rsample.distributions as dist

KEY = torch.tensor([20261128, 9], dtype=torch.uint64)
V = torch.tensor([[2.0, 0.6, 0.1], [0.6, 1.0, -0.2], [0.1, -0.2, 0.5]], dtype=torch.float64)


def test_wishart_follows_its_law():
    """x' W x / x' V x is chi-squared with df degrees, and det W / det V a product of chi-squared: p > 1e-3 each."""
    x = dist.Wishart(torch.tensor(4.5, dtype=torch.float64), covariance_matrix=V).sample((20_000,), key=KEY)
    direction = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    quadratic = (direction @ x @ direction) / (direction @ V @ direction)
    assert stats.kstest(quadratic.numpy(), stats.chi2(4.5).cdf).pvalue > 1e-3
    random = np.random.default_rng(1)
    product = np.prod([random.chisquare(4.5 - i, 20_000) for i in range(3)], axis=0)
    assert stats.ks_2samp((torch.linalg.det(x) / torch.linalg.det(V)).numpy(), product).pvalue > 1e-3
    # Standard errors of the mean are 2e-2 at most; five of them, p = 6e-7 for each of six numbers.
    torch.testing.assert_close(x.mean(0), 4.5 * V, atol=0.15, rtol=0)


def test_wishart_gradients_are_those_of_the_sample():
    df = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    factor = torch.linalg.cholesky(V).requires_grad_()

    def draw(factor):
        return dist.Wishart(df.detach(), scale_tril=factor, validate_args=False).rsample((2,), key=KEY)

    torch.autograd.gradcheck(draw, factor)
    x = dist.Wishart(df, scale_tril=factor).rsample((50_000,), key=KEY)
    (of_df,) = torch.autograd.grad(x.diagonal(dim1=-2, dim2=-1).sum() / 50_000, df)
    # E tr W = df tr V; the standard error is below 0.02.
    torch.testing.assert_close(of_df, V.trace(), atol=0.1, rtol=0)


def test_wishart_draws_the_same_again_in_backward():
    """With a key, and from the default generator, whose state backward leaves alone."""
    df = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    factor = torch.eye(3, dtype=torch.float64).mul_(0.7).requires_grad_()
    d = dist.Wishart(df, scale_tril=factor)
    grads = []
    for key in (KEY, None):
        torch.manual_seed(3)
        x = d.rsample((4,), key=key)
        torch.manual_seed(4)
        state = torch.get_rng_state()
        grads.append(torch.autograd.grad(x.square().sum(), (df, factor)))
        assert torch.equal(torch.get_rng_state(), state)
        # X is quadratic in L: <dX/dL, L> = 2 X.
        torch.testing.assert_close((grads[-1][1] * factor).sum(), 4 * x.square().sum())
    assert not torch.equal(grads[0][0], grads[1][0])
    # A given generator cannot be put back: what backward needs is kept.
    x = d.rsample((4,), generator=torch.Generator().manual_seed(3))
    (grad,) = torch.autograd.grad(x.square().sum(), factor)
    torch.testing.assert_close((grad * factor).sum(), 4 * x.square().sum())


@pytest.mark.parametrize("concentration", [0.5, 1.0, 4.0])
def test_lkj_follows_its_law(concentration):
    """Each correlation of a d x d matrix is 2 b - 1, b Beta(eta - 1 + d / 2, the same): p > 1e-3 each."""
    d = 4
    factor = dist.LKJCholesky(d, torch.tensor(concentration, dtype=torch.float64)).sample((20_000,), key=KEY)
    correlations = factor @ factor.mT
    torch.testing.assert_close(correlations.diagonal(dim1=-2, dim2=-1), torch.ones(20_000, d, dtype=torch.float64))
    shape = concentration - 1 + d / 2
    for i, j in ((1, 0), (2, 1), (3, 0), (3, 2)):
        b = (correlations[:, i, j] + 1) / 2
        assert stats.kstest(b.numpy(), stats.beta(shape, shape).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    "d",
    [
        dist.Wishart(torch.tensor([4.0, 6.0], dtype=torch.float64), covariance_matrix=V),
        dist.LKJCholesky(3, torch.tensor([1.0, 2.0])),
    ],
    ids=["Wishart", "LKJCholesky"],
)
def test_keys_generators_and_shapes(d):
    x = d.sample((5,), key=KEY)
    assert x.shape == (5, 2, 3, 3)
    assert torch.equal(x, d.sample((5,), key=KEY))
    assert not torch.equal(x, d.sample((5,)))
    generators = (torch.Generator().manual_seed(3) for _ in range(2))
    assert torch.equal(*(d.sample((5,), generator=g) for g in generators))
    with pytest.raises(ValueError, match="exclude each other"):
        d.sample(key=KEY, generator=torch.Generator())
    wide = d.expand((4, 2))
    assert wide.sample((2,), key=KEY).shape == (2, 4, 2, 3, 3)
    value, log_prob = d.sample_with_log_prob((5,), key=KEY)
    assert torch.equal(value, x)
    torch.testing.assert_close(log_prob, d.log_prob(x))


@pytest.mark.parametrize("batch", [(), (4,)])
@pytest.mark.parametrize(("p", "df"), [(2, 1.01), (3, 2.03), (3, 2.4), (10, 9.1)])
def test_wishart_samples_are_positive_definite(p, df, batch):
    """All but one in 10^4 float32 samples next to the least df."""
    d = dist.Wishart(torch.full(batch, df), torch.eye(p).expand(*batch, p, p), validate_args=False)
    x = d.sample((20_000,), key=torch.tensor([11, 3], dtype=torch.uint64))
    assert (torch.linalg.cholesky_ex(x).info != 0).float().mean() <= 1e-4


def test_degrees_of_freedom_that_give_no_sample_are_refused_with_validation_or_without():
    for validate_args in (None, True, False):
        with pytest.raises(ValueError, match="df"):
            dist.Wishart(torch.tensor([4.0, 2.0]), scale_tril=torch.eye(3), validate_args=validate_args)
    with pytest.warns(UserWarning, match="singular"):
        dist.Wishart(2.5, scale_tril=torch.eye(3))
    with pytest.raises(ValueError, match="must be specified"):
        dist.Wishart(4.0, scale_tril=torch.eye(3), covariance_matrix=torch.eye(3))
    with pytest.raises(ValueError, match="concentration"):
        dist.LKJCholesky(3, torch.tensor(-1.0))


def test_expanded_matrices_have_the_density_of_the_original():
    for d in (dist.Wishart(5.0, precision_matrix=V.inverse()), dist.LKJCholesky(3, torch.tensor([1.0, 2.0]))):
        wide = d.expand((4, *d.batch_shape))
        x = wide.sample((2,), key=KEY)
        torch.testing.assert_close(wide.log_prob(x), d.log_prob(x))
        assert type(wide) is type(d)
