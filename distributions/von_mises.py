"""Von Mises distribution, on the circle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.von_mises import VON_MISES_LAW, von_mises_log_prob, von_mises_variance

from ._arguments import broadcastable
from ._examples import Example
from ._sampling import FusedSampling, widened


class _VonMises(torch.distributions.VonMises):
    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> _VonMises:
        # torch's calls the constructor, which an instance that is given has behind it.
        new: _VonMises = self._get_checked_instance(_VonMises, _instance)
        new.loc, new.concentration = self.loc.expand(batch_shape), self.concentration.expand(batch_shape)
        Distribution.__init__(new, torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new


class VonMises(FusedSampling, _VonMises):
    r"""Von Mises distribution, the circular normal, with density proportional to :math:`e^{\kappa\cos(x - \mu)}`.

    A draw is by the rejection of Best and Fisher (1979), put so that nothing cancels at any concentration; the result
    is in :math:`[-\pi, \pi)`. Unlike torch's it has `rsample`: the gradient with respect to `loc` is 1, that with
    respect to `concentration` is implicit (Figurnov, Mohamed and Mnih 2018). A concentration beyond 1e36 draws as 1e36
    does: all angles are `loc` within 1e-17.

    Example::

        >>> VonMises(torch.zeros(3), 4.0).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        loc: an angle in radians, the mode; a number or floating-point tensor.
        concentration: :math:`\kappa`, positive; broadcasts with `loc`.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `concentration` is not positive or an argument is NaN.
        RuntimeError: `loc` and `concentration` do not broadcast.
    """

    _examples = (
        Example(
            {"loc": (-1.0, 1.0), "concentration": (0.5, 2.0)},
            scipy=lambda stats, loc, concentration: stats.vonmises(concentration, loc),
        ),
    )

    has_rsample = True
    _samplers = (Sampler(VON_MISES_LAW),)

    def __init__(self, loc: Tensor | float, concentration: Tensor | float, validate_args: bool | None = None) -> None:
        loc, concentration = broadcastable(loc=loc, concentration=concentration)
        torch.distributions.VonMises.__init__(self, loc, concentration, validate_args=False)  # type: ignore[arg-type]
        self._accept(validate_args, loc=loc, concentration=concentration)

    def log_prob(self, value: Tensor) -> Tensor:
        r"""Log-density, from :math:`1 - \cos` and the scaled Bessel function: exact at any concentration."""
        if self._validate_args:
            self._validate_sample(value)
        return widened(von_mises_log_prob, value, self.loc, self.concentration)

    @property
    def variance(self) -> Tensor:
        return widened(von_mises_variance, self.concentration)
