"""Drop-in replacements of torch.distributions' classes whose draws are one kernel each.

>>> import rsample.distributions as dist
>>> z = dist.Normal(torch.zeros(3), torch.ones(3)).rsample((16,))
"""

from .bernoulli import Bernoulli
from .normal import Normal
from .uniform import Uniform

__all__ = ["Bernoulli", "Normal", "Uniform"]
