"""Relaxed Bernoulli distribution, and that of its logit."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import SigmoidTransform, relaxed_bernoulli

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.relaxed_bernoulli import (
    LOGIT_RELAXED_BERNOULLI_LOGITS_LAW,
    LOGIT_RELAXED_BERNOULLI_PROBS_LAW,
    RELAXED_BERNOULLI_LOGITS_LAW,
    RELAXED_BERNOULLI_PROBS_LAW,
)
from rsample.kernels.laws.support import UNIT_INTERVAL

from ._arguments import broadcast_shapes, check_one_of, is_cpu_scalar
from ._examples import LOGITS, PROBS, Example
from ._sampling import FusedSampling
from .transformed_distribution import TransformedDistribution


def _checked_temperature(temperature: Tensor | float, param: object) -> Tensor:
    """`temperature` as a tensor that broadcasts to the other parameter."""
    like = param if isinstance(param, Tensor) else torch.tensor(0.0, device=torch.get_default_device())
    if not isinstance(temperature, Tensor):
        return torch.tensor(temperature, dtype=like.dtype, device=like.device)
    # Comparing keeps symbolic sizes symbolic.
    if temperature.dim() > 0 and broadcast_shapes(temperature.shape, like.shape) != like.shape:
        raise ValueError(
            f"temperature of shape {tuple(temperature.shape)} does not broadcast to the batch shape {tuple(like.shape)}"
        )
    return temperature.to(like.device) if is_cpu_scalar(temperature) else temperature


class LogitRelaxedBernoulli(FusedSampling, relaxed_bernoulli.LogitRelaxedBernoulli):
    r"""Distribution of the logit of a relaxed Bernoulli number: :math:`y = (\mathrm{logit}\,p + e) / \lambda`.

    e is a standard logistic number, :math:`\lambda` the temperature. Pathwise gradients are
    :math:`\partial y/\partial\,\mathrm{logit}\,p = 1/\lambda` and :math:`\partial y/\partial\lambda = -y/\lambda`.

    Source: Maddison, Mnih and Teh, "The Concrete Distribution" (2017), appendix B.

    Example::

        >>> LogitRelaxedBernoulli(torch.tensor(0.5), logits=torch.zeros(4)).rsample().shape
        torch.Size([4])

    Args:
        temperature: positive; a number, or a floating-point tensor that broadcasts to the other parameter.
        probs: probability of 1, in (0, 1); a number or floating-point tensor.
        logits: log-odds of 1; exactly one of `probs` and `logits` is given.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: both or neither of `probs` and `logits`, `temperature` does not broadcast, or validation is on and
            `probs` is outside [0, 1] or NaN.
    """

    _examples = (
        Example(
            {"temperature": (0.4, 1.5), "probs": PROBS},
            scipy=lambda stats, temperature, probs: stats.logistic(
                math.log(probs / (1 - probs)) / temperature, 1 / temperature
            ),
            rounding=32,
        ),
        Example(
            {"temperature": (0.4, 1.5), "logits": LOGITS},
            scipy=lambda stats, temperature, logits: stats.logistic(logits / temperature, 1 / temperature),
            rounding=32,
        ),
    )

    has_rsample = True
    _samplers = (Sampler(LOGIT_RELAXED_BERNOULLI_PROBS_LAW), Sampler(LOGIT_RELAXED_BERNOULLI_LOGITS_LAW))

    def __init__(
        self,
        temperature: Tensor | float,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = check_one_of(probs=probs, logits=logits)
        temperature = _checked_temperature(temperature, *given.values())
        relaxed_bernoulli.LogitRelaxedBernoulli.__init__(self, temperature, probs, logits, validate_args=False)
        self._accept(validate_args, temperature=temperature, **given)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._checked_log_prob_at(value)


class RelaxedBernoulli(FusedSampling, TransformedDistribution, torch.distributions.RelaxedBernoulli):
    r"""Relaxed Bernoulli distribution on (0, 1): :math:`x = \sigma((\mathrm{logit}\,p + e) / \lambda)`.

    e is a standard logistic number; as the temperature :math:`\lambda` goes to 0, x goes to a Bernoulli number. Samples
    are strictly between 0 and 1 in every dtype. Pathwise gradients are those of :class:`LogitRelaxedBernoulli` times
    :math:`x(1 - x)`.

    Source: Maddison, Mnih and Teh, "The Concrete Distribution" (2017); Jang, Gu and Poole, "Categorical
    Reparameterization with Gumbel-Softmax" (2017).

    Example::

        >>> RelaxedBernoulli(torch.tensor(0.5), probs=torch.full((4,), 0.3)).rsample().shape
        torch.Size([4])

    Args:
        temperature, probs, logits, validate_args: those of :class:`LogitRelaxedBernoulli`, which raise as there.
    """

    _examples = (
        Example({"temperature": (0.4, 1.5), "probs": PROBS}),
        Example({"temperature": (0.4, 1.5), "logits": LOGITS}),
    )

    _samplers = (Sampler(RELAXED_BERNOULLI_PROBS_LAW), Sampler(RELAXED_BERNOULLI_LOGITS_LAW))

    def __init__(
        self,
        temperature: Tensor | float,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        temperature = _checked_temperature(temperature, *check_one_of(probs=probs, logits=logits).values())
        # torch's constructor would check the parameters of the base whatever it is told.
        base = LogitRelaxedBernoulli(temperature, probs, logits, validate_args=False)
        TransformedDistribution.__init__(self, base, SigmoidTransform(), validate_args=False)
        self._accept(validate_args)

    base_dist: LogitRelaxedBernoulli

    def _attributes(self, params: list[Tensor], shape: torch.Size) -> dict[int, Tensor] | None:
        return self.base_dist._attributes(params, shape)

    def _draw_with(self) -> tuple[Sampler, list[Tensor]]:
        sampler, params = self.base_dist._draw_with()
        return self._samplers[LogitRelaxedBernoulli._samplers.index(sampler)], params

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density; at 0 and 1, which others' arithmetic may round to, that of the numbers next to them."""
        if self._validate_args:
            self._validate_sample(value)
        if not value.is_floating_point():
            value = value.to(self.temperature.dtype)
        inside = value.clamp(*UNIT_INTERVAL.limits(value.dtype))
        return torch.where((value < 0) | (value > 1), -torch.inf, self._log_prob_at(inside))
