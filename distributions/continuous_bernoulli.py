"""Continuous Bernoulli distribution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.utils import broadcast_all, clamp_probs

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.continuous_bernoulli import (
    CONTINUOUS_BERNOULLI_LOGITS_LAW,
    CONTINUOUS_BERNOULLI_PROBS_LAW,
    cdf_of_logits,
    entropy_of_logits,
    icdf_of_logits,
    mean_of_logits,
    variance_of_logits,
)

from ._arguments import check_one_of
from ._examples import LOGITS, PROBS, Example
from ._sampling import FusedSampling, widened


class ContinuousBernoulli(FusedSampling, torch.distributions.ContinuousBernoulli):
    r"""Continuous Bernoulli distribution: density proportional to :math:`p^x (1 - p)^{1 - x}` on the unit interval.

    A draw inverts the distribution function in the kernel that writes the sample, with pathwise gradients to the
    parameter. It is exact also next to :math:`p = 1/2`, where `lims` has torch's methods turn to approximations, and
    from logits that torch's probs are too coarse for; so are density, moments, cdf, icdf and entropy. Samples lie
    strictly inside of the interval in every dtype.

    Example::

        >>> logits = torch.zeros(3, requires_grad=True)
        >>> x = ContinuousBernoulli(logits=logits).rsample((16,))
        >>> bool(((x > 0) & (x < 1)).all())
        True

    Args:
        probs: parameter in (0, 1); a number or floating-point tensor. torch keeps it off 0 and 1 by the dtype's eps.
        logits: its log-odds; exactly one of `probs` and `logits` is given.
        lims: where torch counts p as 1/2; nothing here depends on it.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: both or neither of `probs` and `logits`, or validation is on and `probs` is outside [0, 1].

    Source: Loaiza-Ganem and Cunningham, "The continuous Bernoulli: fixing a pervasive error in variational
    autoencoders" (2019).
    """

    _examples = (
        Example({"probs": PROBS}),
        Example({"logits": LOGITS}),
    )

    _samplers = (Sampler(CONTINUOUS_BERNOULLI_PROBS_LAW), Sampler(CONTINUOUS_BERNOULLI_LOGITS_LAW))

    def __init__(
        self,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:
        (name,) = check_one_of(probs=probs, logits=logits)
        given = logits if probs is None else probs
        assert given is not None
        (self._param,) = broadcast_all(given)
        setattr(self, name, self._param)
        self._lims = lims
        batch_shape = self._param.shape if isinstance(given, Tensor) else torch.Size()
        Distribution.__init__(self, batch_shape, validate_args=False)
        # Checked as it was given: clamped it would always be valid.
        self._check_arguments(validate_args)
        if probs is not None:
            self.probs = self._param = clamp_probs(self._param)
        self._accept(False, **{name: self._param})
        self._adopt(validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._checked_log_prob_at(value)

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return widened(cdf_of_logits, value, self.logits)

    def icdf(self, value: Tensor) -> Tensor:
        return widened(icdf_of_logits, value, self.logits)

    @property
    def mean(self) -> Tensor:
        return widened(mean_of_logits, self.logits)

    @property
    def variance(self) -> Tensor:
        return widened(variance_of_logits, self.logits)

    def entropy(self) -> Tensor:
        return widened(entropy_of_logits, self.logits)
