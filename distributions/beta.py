"""Beta distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draw import Sampler
from rsample.kernels.maps.beta import BETA_MAP

from ._sampling import FusedSampling, check_broadcast


class Beta(FusedSampling, torch.distributions.Beta):
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

    _samplers = (Sampler(BETA_MAP),)

    def __init__(
        self,
        concentration1: Tensor | float,
        concentration0: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        check_broadcast(concentration1=concentration1, concentration0=concentration0)
        super().__init__(concentration1, concentration0, validate_args=False)
        self._accept(validate_args, concentration1=concentration1, concentration0=concentration0)

    def _draw_with(self) -> tuple[Sampler, list[Tensor]]:
        # torch keeps both parameters in one tensor and gives a new view of it for each look at an attribute.
        return self._samplers[0], [given for _, given in self._given.values()]
