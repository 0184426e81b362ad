"""Drop-in replacements of torch.distributions' classes whose draws are one kernel each.

>>> import rsample.distributions as dist
>>> z = dist.Normal(torch.zeros(3), torch.ones(3)).rsample((16,))
"""

from .bernoulli import Bernoulli
from .bernoulli_straight_through import BernoulliStraightThrough
from .cauchy import Cauchy
from .exponential import Exponential
from .gumbel import Gumbel
from .half_cauchy import HalfCauchy
from .half_normal import HalfNormal
from .independent import Independent
from .laplace import Laplace
from .log_normal import LogNormal
from .logistic import Logistic
from .mixture_same_family import MixtureSameFamily
from .normal import Normal
from .relaxed_bernoulli import LogitRelaxedBernoulli, RelaxedBernoulli
from .tanh_normal import TanhNormal
from .transformed_distribution import TransformedDistribution
from .uniform import Uniform

__all__ = [
    "Bernoulli",
    "BernoulliStraightThrough",
    "Cauchy",
    "Exponential",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "Laplace",
    "LogNormal",
    "Logistic",
    "LogitRelaxedBernoulli",
    "MixtureSameFamily",
    "Normal",
    "RelaxedBernoulli",
    "TanhNormal",
    "TransformedDistribution",
    "Uniform",
]
