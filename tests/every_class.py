"""One way to make each distribution of the package, from whatever tensors a test gives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.transforms import AffineTransform

import rsample.distributions as dist

# param(low, high, *event): a parameter of values in [low, high] and of event shape `event`.
Param = Callable[..., Tensor]


def _factor(param: Param) -> Tensor:
    """A lower triangular matrix with a positive diagonal, as dense as `param` makes it."""
    return param(0.5, 1.0, 3, 3).tril()


EVERY_CLASS: dict[str, Callable[[Param], Distribution]] = {
    "Bernoulli": lambda p: dist.Bernoulli(p(0.1, 0.9)),
    "Bernoulli of logits": lambda p: dist.Bernoulli(logits=p(-1, 1)),
    "BernoulliStraightThrough": lambda p: dist.BernoulliStraightThrough(logits=p(-1, 1)),
    "Beta": lambda p: dist.Beta(p(0.5, 2), p(0.5, 2)),
    "Binomial": lambda p: dist.Binomial(5, p(0.1, 0.9)),
    "Categorical": lambda p: dist.Categorical(p(0.1, 1, 3)),
    "Categorical of logits": lambda p: dist.Categorical(logits=p(-1, 1, 3)),
    "Cauchy": lambda p: dist.Cauchy(p(-1, 1), p(0.5, 2)),
    "Chi2": lambda p: dist.Chi2(p(0.5, 2)),
    "ContinuousBernoulli": lambda p: dist.ContinuousBernoulli(p(0.1, 0.9)),
    "Dirichlet": lambda p: dist.Dirichlet(p(0.5, 2, 3)),
    "ExpRelaxedCategorical": lambda p: dist.ExpRelaxedCategorical(0.5, logits=p(-1, 1, 3)),
    "Exponential": lambda p: dist.Exponential(p(0.5, 2)),
    "FisherSnedecor": lambda p: dist.FisherSnedecor(p(3, 5), p(3, 5)),
    "Gamma": lambda p: dist.Gamma(p(0.5, 2), p(0.5, 2)),
    "GeneralizedPareto": lambda p: dist.GeneralizedPareto(p(-1, 1), p(0.5, 2), p(0.1, 0.5)),
    "Geometric": lambda p: dist.Geometric(p(0.1, 0.9)),
    "Gumbel": lambda p: dist.Gumbel(p(-1, 1), p(0.5, 2)),
    "HalfCauchy": lambda p: dist.HalfCauchy(p(0.5, 2)),
    "HalfNormal": lambda p: dist.HalfNormal(p(0.5, 2)),
    "Independent": lambda p: dist.Independent(dist.Normal(p(-1, 1, 2), p(0.5, 2, 2)), 1),
    "InverseGamma": lambda p: dist.InverseGamma(p(0.5, 2), p(0.5, 2)),
    "Kumaraswamy": lambda p: dist.Kumaraswamy(p(0.5, 2), p(0.5, 2)),
    "LKJCholesky": lambda p: dist.LKJCholesky(3, p(0.5, 2)),
    "Laplace": lambda p: dist.Laplace(p(-1, 1), p(0.5, 2)),
    "LogNormal": lambda p: dist.LogNormal(p(-1, 1), p(0.5, 2)),
    "Logistic": lambda p: dist.Logistic(p(-1, 1), p(0.5, 2)),
    "LogisticNormal": lambda p: dist.LogisticNormal(p(-1, 1, 2), p(0.5, 2, 2)),
    "LogitRelaxedBernoulli": lambda p: dist.LogitRelaxedBernoulli(0.5, logits=p(-1, 1)),
    "LowRankMultivariateNormal": lambda p: dist.LowRankMultivariateNormal(p(-1, 1, 3), p(0.5, 1, 3, 2), p(0.5, 2, 3)),
    "MixtureSameFamily": lambda p: dist.MixtureSameFamily(
        dist.Categorical(logits=p(-1, 1, 3)), dist.Normal(p(-1, 1, 3), p(0.5, 2, 3))
    ),
    "Multinomial": lambda p: dist.Multinomial(5, p(0.1, 1, 3)),
    "MultivariateNormal": lambda p: dist.MultivariateNormal(p(-1, 1, 3), scale_tril=_factor(p)),
    "NegativeBinomial": lambda p: dist.NegativeBinomial(p(1, 5), p(0.1, 0.9)),
    "Normal": lambda p: dist.Normal(p(-1, 1), p(0.5, 2)),
    "OneHotCategorical": lambda p: dist.OneHotCategorical(logits=p(-1, 1, 3)),
    "OneHotCategoricalStraightThrough": lambda p: dist.OneHotCategoricalStraightThrough(logits=p(-1, 1, 3)),
    "Pareto": lambda p: dist.Pareto(p(0.5, 2), p(1, 3)),
    "Poisson": lambda p: dist.Poisson(p(0.5, 20)),
    "RelaxedBernoulli": lambda p: dist.RelaxedBernoulli(0.5, p(0.1, 0.9)),
    "RelaxedOneHotCategorical": lambda p: dist.RelaxedOneHotCategorical(0.5, logits=p(-1, 1, 3)),
    "StudentT": lambda p: dist.StudentT(p(2, 5), p(-1, 1), p(0.5, 2)),
    "TanhNormal": lambda p: dist.TanhNormal(p(-1, 1), p(0.5, 2)),
    "TransformedDistribution": lambda p: dist.TransformedDistribution(
        dist.Normal(p(-1, 1), p(0.5, 2)), AffineTransform(1.0, 2.0)
    ),
    "TruncatedNormal": lambda p: dist.TruncatedNormal(p(-1, 1), p(0.5, 2), p(-3, -2), p(2, 3)),
    "Uniform": lambda p: dist.Uniform(p(-1, 0), p(1, 2)),
    "VonMises": lambda p: dist.VonMises(p(-1, 1), p(0.5, 2)),
    "Weibull": lambda p: dist.Weibull(p(0.5, 2), p(0.5, 2)),
    "Wishart": lambda p: dist.Wishart(p(5, 6), scale_tril=_factor(p)),
}


def params(
    batch: Sequence[int],
    dtype: torch.dtype = torch.float32,
    layout: Callable[[Tensor], Tensor] = lambda x: x,
    requires_grad: bool = False,
    device: str = "cpu",
) -> Param:
    """Makes parameters of batch shape `batch`; `layout` gives the same tensor, laid out otherwise."""
    generator = torch.Generator().manual_seed(0)

    def param(low: float, high: float, *event: int) -> Tensor:
        uniform = torch.rand(*batch, *event, generator=generator, dtype=torch.float64, device="cpu")
        made = layout((low + (high - low) * uniform).to(device, dtype))
        return made.requires_grad_() if requires_grad else made

    return param
