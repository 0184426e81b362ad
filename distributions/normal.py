"""Normal (Gaussian) distribution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rsample.kernels.draws.constants import constant, zero_and_one
from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.normal import NORMAL_LAW, normal_log_prob

from ._arguments import broadcastable
from ._examples import LOC_SCALE, NORMAL_ROUNDING, Example
from ._sampling import FusedSampling


class Normal(FusedSampling, torch.distributions.Normal):
    r"""Normal distribution with density :math:`\exp(-(x - \mu)^2 / 2\sigma^2) / (\sigma\sqrt{2\pi})`.

    A draw is :math:`\mu + \sigma\epsilon` with standard normal :math:`\epsilon` by Box and Muller (1958), made in the
    kernel that writes the sample; pathwise gradients are :math:`\partial x/\partial\mu = 1` and
    :math:`\partial x/\partial\sigma = \epsilon`, with :math:`\epsilon` made again from the key. A sample beyond the
    greatest number of its dtype is infinite, as torch's.

    Example::

        >>> loc = torch.zeros(3, requires_grad=True)
        >>> z = Normal(loc, 1.0).rsample((16,))
        >>> z.sum().backward()
        >>> loc.grad
        tensor([16., 16., 16.])

    Args:
        loc: mean, a number or floating-point tensor.
        scale: standard deviation, positive; broadcasts with `loc`.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `scale` is not positive or an argument is NaN.
        RuntimeError: `loc` and `scale` do not broadcast.
    """

    _examples = (Example(LOC_SCALE, scipy=lambda stats, loc, scale: stats.norm(loc, scale), rounding=NORMAL_ROUNDING),)

    _samplers = (Sampler(NORMAL_LAW),)

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        loc, scale = broadcastable(loc=loc, scale=scale)
        torch.distributions.Normal.__init__(self, loc, scale, validate_args=False)
        self._accept(validate_args, loc=loc, scale=scale)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return normal_log_prob(value, self.loc, self.scale)


def standard_normal(
    shape: Sequence[int], like: Tensor, generator: torch.Generator | None, key: Tensor | None
) -> Tensor:
    """Standard normal numbers of a tensor's dtype, on its device."""
    (sampler,) = Normal._samplers
    sample: Tensor = sampler([*constant(zero_and_one, like)], shape, generator=generator, key=key)
    return sample
