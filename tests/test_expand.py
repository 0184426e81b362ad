"""`expand` of every class, plain and inside of the combinators."""

import pytest
import torch
import torch.distributions as td
from cases import FAMILIES

import rsample.distributions as dist

KEY = torch.tensor([20_26, 13], dtype=torch.uint64)


def p(low, high, *event):
    return torch.linspace(low, high, 3 * max(1, torch.Size(event).numel())).reshape(3, *event)


# Of batch shape (3,).
MAKE = {
    "Bernoulli": lambda: dist.Bernoulli(p(0.1, 0.9)),
    "BernoulliStraightThrough": lambda: dist.BernoulliStraightThrough(logits=p(-1, 1)),
    "Beta": lambda: dist.Beta(p(1, 2), 2.0),
    "Binomial": lambda: dist.Binomial(5, p(0.1, 0.9)),
    "Categorical": lambda: dist.Categorical(p(0.1, 0.9, 4)),
    "Cauchy": lambda: dist.Cauchy(p(-1, 1), 1.0),
    "Chi2": lambda: dist.Chi2(p(1, 2)),
    "ContinuousBernoulli": lambda: dist.ContinuousBernoulli(p(0.1, 0.4)),
    "Dirichlet": lambda: dist.Dirichlet(p(1, 2, 4)),
    "ExpRelaxedCategorical": lambda: dist.ExpRelaxedCategorical(0.5, logits=p(-1, 1, 4)),
    "Exponential": lambda: dist.Exponential(p(1, 2)),
    "FisherSnedecor": lambda: dist.FisherSnedecor(p(3, 4), 5.0),
    "Gamma": lambda: dist.Gamma(p(1, 2), 2.0),
    "GeneralizedPareto": lambda: dist.GeneralizedPareto(p(-1, 1), 1.0, 0.1),
    "Geometric": lambda: dist.Geometric(p(0.1, 0.9)),
    "Gumbel": lambda: dist.Gumbel(p(-1, 1), 1.0),
    "HalfCauchy": lambda: dist.HalfCauchy(p(1, 2)),
    "HalfNormal": lambda: dist.HalfNormal(p(1, 2)),
    "InverseGamma": lambda: dist.InverseGamma(p(1, 2), 2.0),
    "Kumaraswamy": lambda: dist.Kumaraswamy(p(1, 2), 2.0),
    "LKJCholesky": lambda: dist.LKJCholesky(3, p(1, 2)),
    "Laplace": lambda: dist.Laplace(p(-1, 1), 1.0),
    "LogNormal": lambda: dist.LogNormal(p(-1, 1), 1.0),
    "Logistic": lambda: dist.Logistic(p(-1, 1), 1.0),
    "LogisticNormal": lambda: dist.LogisticNormal(p(-1, 1, 2), p(1, 2, 2)),
    "LogitRelaxedBernoulli": lambda: dist.LogitRelaxedBernoulli(0.5, p(0.1, 0.9)),
    "LowRankMultivariateNormal": lambda: dist.LowRankMultivariateNormal(p(-1, 1, 4), p(0.1, 1, 4, 2), p(1, 2, 4)),
    "Multinomial": lambda: dist.Multinomial(5, p(0.1, 0.9, 4)),
    "MultivariateNormal": lambda: dist.MultivariateNormal(p(-1, 1, 4), torch.eye(4)),
    "NegativeBinomial": lambda: dist.NegativeBinomial(5.0, p(0.1, 0.9)),
    "Normal": lambda: dist.Normal(p(-1, 1), 1.0),
    "OneHotCategorical": lambda: dist.OneHotCategorical(p(0.1, 0.9, 4)),
    "OneHotCategoricalStraightThrough": lambda: dist.OneHotCategoricalStraightThrough(p(0.1, 0.9, 4)),
    "Pareto": lambda: dist.Pareto(p(1, 2), 2.0),
    "Poisson": lambda: dist.Poisson(p(1, 2)),
    "RelaxedBernoulli": lambda: dist.RelaxedBernoulli(0.5, logits=p(-1, 1)),
    "RelaxedOneHotCategorical": lambda: dist.RelaxedOneHotCategorical(0.5, logits=p(-1, 1, 4)),
    "StudentT": lambda: dist.StudentT(p(3, 4)),
    "TanhNormal": lambda: dist.TanhNormal(p(-1, 1), 1.0),
    "TruncatedNormal": lambda: dist.TruncatedNormal(p(-1, 1), 1.0, -1.0, 1.0),
    "Uniform": lambda: dist.Uniform(p(-1, 1), 2.0),
    "VonMises": lambda: dist.VonMises(p(-1, 1), 2.0),
    "Weibull": lambda: dist.Weibull(p(1, 2), 2.0),
    "Wishart": lambda: dist.Wishart(p(4, 5), torch.eye(3)),
}


def test_every_class_is_here():
    assert set(MAKE) | {"Independent", "MixtureSameFamily", "TransformedDistribution"} == set(FAMILIES)


def identity(event_dim):
    return td.IndependentTransform(td.AffineTransform(0.0, 1.0), event_dim) if event_dim else td.ComposeTransform([])


WRAP = {
    "plain": lambda d: d,
    "Independent": lambda d: dist.Independent(d, 0),
    "TransformedDistribution": lambda d: dist.TransformedDistribution(d, identity(len(d.event_shape))),
}


@pytest.mark.parametrize("family", MAKE)
@pytest.mark.parametrize("wrap", WRAP)
@pytest.mark.parametrize("shape", [(2, 3), (3,), (0, 3)], ids=str)
def test_an_expanded_draw_is_that_of_the_whole_shape(family, wrap, shape):
    if family == "Multinomial" and 0 in shape:
        pytest.skip("test_counts.py has it")
    d = WRAP[wrap](MAKE[family]())
    expanded = d.expand(shape)
    assert type(expanded) is type(d)
    assert expanded.batch_shape == shape
    assert expanded.event_shape == d.event_shape
    x = expanded.sample((5,), key=KEY)
    assert x.shape == (5, *shape, *d.event_shape)
    if 0 not in shape:
        assert torch.equal(x, d.sample((5, *shape[:-1]), key=KEY))
        torch.testing.assert_close(expanded.log_prob(x), d.log_prob(x))
        again = expanded.expand((4, *shape))
        assert torch.equal(again.sample(key=KEY), d.sample((4, *shape[:-1]), key=KEY))


@pytest.mark.parametrize("family", MAKE)
def test_inside_a_mixture(family):
    # torch does not check values against a component's support that depends on parameters.
    td.Distribution.set_default_validate_args(False)
    d = dist.MixtureSameFamily(dist.Categorical(torch.ones(3)), MAKE[family]())
    expanded = d.expand((2,))
    x = expanded.sample((5,), key=KEY)
    assert x.shape == (5, 2, *d.event_shape)
    torch.testing.assert_close(expanded.log_prob(x), d.log_prob(x))


@pytest.mark.parametrize("family", MAKE)
def test_what_cannot_be_expanded_raises(family):
    with pytest.raises((RuntimeError, ValueError)):
        MAKE[family]().expand((2, 5)).sample()
