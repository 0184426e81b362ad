"""Continuous Bernoulli distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from rsample.kernels.draw import Sampler
from rsample.kernels.maps.continuous_bernoulli import (
    CONTINUOUS_BERNOULLI_LOGITS_MAP,
    CONTINUOUS_BERNOULLI_PROBS_MAP,
)

from ._sampling import FusedSampling, check_one_of


class ContinuousBernoulli(FusedSampling, torch.distributions.ContinuousBernoulli):
    r"""Continuous Bernoulli distribution: density proportional to :math:`p^x (1 - p)^{1 - x}` on the unit interval.

    A draw inverts the distribution function in the kernel that writes the sample, with pathwise gradients to the
    parameter. It is exact also next to :math:`p = 1/2`, where `lims` has torch's mean, variance, cdf and icdf turn
    to approximations, and from logits that torch's probs are too coarse for; so is :meth:`log_prob`. Samples lie
    strictly inside of the interval in every dtype.

    Example::

        >>> logits = torch.zeros(3, requires_grad=True)
        >>> x = ContinuousBernoulli(logits=logits).rsample((16,))
        >>> bool(((x > 0) & (x < 1)).all())
        True

    Args:
        probs: parameter in (0, 1); a number or floating-point tensor. torch keeps it off 0 and 1 by the dtype's eps.
        logits: its log-odds; exactly one of `probs` and `logits` is given.
        lims: where torch's own methods count p as 1/2.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: both or neither of `probs` and `logits`, or validation is on and `probs` is outside [0, 1].

    Source: Loaiza-Ganem and Cunningham, "The continuous Bernoulli: fixing a pervasive error in variational
    autoencoders" (2019).
    """

    _samplers = (Sampler(CONTINUOUS_BERNOULLI_PROBS_MAP), Sampler(CONTINUOUS_BERNOULLI_LOGITS_MAP))

    def __init__(
        self,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:
        # torch's constructor checks `probs` if it is told anything, which cannot be traced or mapped.
        self._validate_args = False
        super().__init__(probs, logits, lims, validate_args=None)
        # The probs that count are those that torch has clamped.
        self._accept(validate_args, **{name: getattr(self, name) for name in check_one_of(probs=probs, logits=logits)})

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        sampler, (parameter,) = self._draw_with()
        density = sampler.map.density
        assert density is not None
        return density.at(value, parameter).expand(torch.broadcast_shapes(value.shape, self.batch_shape))
