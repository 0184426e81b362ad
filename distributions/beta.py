"""Beta distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Dirichlet, Distribution
from torch.distributions.utils import broadcast_all

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.beta import BETA_LAW

from ._arguments import broadcastable
from ._examples import POSITIVE, Example
from ._sampling import FusedSampling


class _Beta(torch.distributions.Beta):
    """torch's, but that its parameters are attributes, and not views of one tensor, new ones for each look at them."""

    concentration1: Tensor = None  # type: ignore[assignment]
    concentration0: Tensor = None  # type: ignore[assignment]

    @property
    def _dirichlet(self) -> Dirichlet:  # type: ignore[override]
        return Dirichlet(torch.stack([self.concentration1, self.concentration0], -1), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        a, b = self.concentration1, self.concentration0
        of_value = torch.xlogy(a - 1.0, value) + torch.xlogy(b - 1.0, 1.0 - value)
        return of_value + torch.lgamma(a + b) - (torch.lgamma(a) + torch.lgamma(b))

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> _Beta:
        new: _Beta = self._get_checked_instance(_Beta, _instance)
        new.concentration1 = self.concentration1.expand(batch_shape)
        new.concentration0 = self.concentration0.expand(batch_shape)
        Distribution.__init__(new, torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new


class Beta(FusedSampling, _Beta):
    r"""Beta distribution with density proportional to :math:`x^{\alpha - 1} (1 - x)^{\beta - 1}`.

    A draw is :math:`g_1 / (g_1 + g_0)` with two standard gamma numbers, whose powers of the uniform numbers that small
    concentrations need are divided before anything underflows: it is right down to concentrations of 1e-3 and less.
    Gradients are implicit, functions of the sample and the concentrations (Figurnov, Mohamed and Mnih 2018), within
    1e-4 relative.

    Example::

        >>> Beta(torch.full((3,), 0.5), 0.5).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        concentration1: :math:`\alpha`, positive; a number or floating-point tensor.
        concentration0: :math:`\beta`, positive; broadcasts with `concentration1`.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and a parameter is not positive or NaN.
        RuntimeError: `concentration1` and `concentration0` do not broadcast.
    """

    _examples = (
        Example(
            {"concentration1": POSITIVE, "concentration0": POSITIVE},
            scipy=lambda stats, concentration1, concentration0: stats.beta(concentration1, concentration0),
        ),
    )

    _samplers = (Sampler(BETA_LAW),)

    def __init__(
        self,
        concentration1: Tensor | float,
        concentration0: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        concentration1, concentration0 = broadcastable(concentration1=concentration1, concentration0=concentration0)
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        Distribution.__init__(self, self.concentration1.shape, validate_args=False)
        self._accept(validate_args, concentration1=concentration1, concentration0=concentration0)
