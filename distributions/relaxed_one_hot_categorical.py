"""Relaxed one-hot categorical (Gumbel-softmax, Concrete) distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import ExpTransform
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical as TorchExpRelaxedCategorical

from rsample.kernels.draws.rows.autograd import with_temperature
from rsample.kernels.draws.rows.draw import draw_rows
from rsample.kernels.draws.rows.ops import Relaxed
from rsample.kernels.laws.support import POSITIVE

from ._arguments import broadcast_shapes, is_cpu_scalar
from ._examples import Example
from ._sampling import KeyedSampling, checked_sample_shape
from ._weights import NAMES
from .categorical import Categorical, initialise_checked
from .transformed_distribution import TransformedDistribution


class _RelaxedSampling(KeyedSampling):
    """Mixin: the draws of both classes. `_relaxed` gives the distribution that holds the parameters.

    Coordinates may underflow to 0, as in torch.distributions; a fused log-density is that of the draw before it is
    rounded to its dtype, and finite also there.
    """

    _exponentiated: bool

    @property
    def _relaxed(self) -> ExpRelaxedCategorical:
        raise NotImplementedError

    def _draw(
        self,
        sample_shape: Sequence[int],
        generator: torch.Generator | None,
        key: Tensor | None,
        *,
        differentiable: bool,
        log_prob: bool,
    ) -> tuple[Tensor, ...]:
        relaxed = self._relaxed
        shape = checked_sample_shape(sample_shape) + relaxed.batch_shape + relaxed.event_shape
        logits, given = relaxed._logits(), relaxed.temperature
        temperature = torch.as_tensor(given, device=logits.device).to(logits.dtype)
        kind = Relaxed(self._exponentiated, log_prob, differentiable)
        # The log-probability's gradient is wanted in any case.
        wanted = differentiable or log_prob
        if temperature.numel() == 1:
            params = {"logits": logits, "temperature": temperature}
            outputs = draw_rows(kind, params, shape, generator=generator, key=key, differentiable=wanted)
            if log_prob and temperature.dim() > len(shape) - 1:
                # A temperature of shape (1,) gives log-densities of that shape at least, as in torch.distributions.
                return outputs[0], outputs[1].expand(broadcast_shapes(outputs[1].shape, temperature.shape))
            return outputs
        if temperature.shape[-1] != 1:
            raise NotImplementedError(
                f"temperature has shape {tuple(temperature.shape)}; it must have one element, or a last dimension of "
                f"size 1 for a temperature for each row"
            )
        shape = broadcast_shapes(shape, temperature.shape[:-1] + shape[-1:])
        unit = Relaxed(exponentiated=False, log_prob=False, pathwise=differentiable)
        params = {"logits": logits, "temperature": torch.ones_like(temperature[..., :1].reshape(-1)[:1])}
        (x,) = draw_rows(unit, params, shape, generator=generator, key=key, differentiable=differentiable)
        if not wanted:
            logits, temperature = logits.detach(), temperature.detach()
        value, *rest = with_temperature(kind, x, logits, temperature)
        return (value if differentiable else value.detach()), *rest


class ExpRelaxedCategorical(_RelaxedSampling, TorchExpRelaxedCategorical):
    r"""The logarithm of a :class:`RelaxedOneHotCategorical` variable.

    A draw is :math:`x = \operatorname{log\,softmax}((\ell + G) / T)` with standard Gumbel noise :math:`G` made in the
    kernel that writes x. Gradients follow from x alone (Maddison, Mnih and Teh, "The Concrete Distribution", 2017).

    Example::

        >>> ExpRelaxedCategorical(torch.tensor(0.5), logits=torch.zeros(4)).rsample((3,)).exp().sum(-1).shape
        torch.Size([3])

    Args:
        temperature: positive; a number or tensor of one element or, with a last dimension of size 1, one for each row.
        probs, logits, validate_args: as of :class:`~rsample.distributions.Categorical`.

    Raises:
        ValueError: as :class:`~rsample.distributions.Categorical`.
    """

    _examples = (Example({"temperature": 0.5, "logits": (-1.0, 1.0, 3)}),)

    _exponentiated = False
    _categorical: Categorical

    def __init__(
        self,
        temperature: Tensor | float,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        categorical = Categorical(probs, logits, validate_args=validate_args)
        weights = categorical._weights
        if not isinstance(temperature, Tensor):
            temperature = torch.tensor(float(temperature), dtype=weights.dtype, device=weights.device)
        elif is_cpu_scalar(temperature):
            temperature = temperature.to(weights.device)
        self._set_parameters(temperature, categorical, validate_args)

    def _set_parameters(self, temperature: Tensor, categorical: Categorical, validate_args: bool | None) -> None:
        self.temperature, self._categorical = temperature, categorical
        initialise_checked(self, categorical.batch_shape, categorical.param_shape[-1:], validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> ExpRelaxedCategorical:
        new: ExpRelaxedCategorical = self._get_checked_instance(ExpRelaxedCategorical, _instance)
        new._set_parameters(self.temperature, self._categorical.expand(batch_shape), self._validate_args)
        return new

    @property
    def _relaxed(self) -> ExpRelaxedCategorical:
        return self

    def _logits(self) -> Tensor:
        """What draws read: normalised only where that is needed."""
        if type(self).logits is ExpRelaxedCategorical.logits and isinstance(self._categorical, Categorical):
            return self._categorical.weights_as_logits()
        return self.logits


class RelaxedOneHotCategorical(_RelaxedSampling, TransformedDistribution, torch.distributions.RelaxedOneHotCategorical):
    r"""Continuous relaxation of :class:`OneHotCategorical` to the inside of the simplex.

    A draw is :math:`\operatorname{softmax}((\ell + G) / T)` with standard Gumbel noise :math:`G` made in the kernel
    that writes the sample. Gradients follow from the sample alone (Maddison, Mnih and Teh, "The Concrete Distribution",
    2017; Jang, Gu and Poole, "Categorical Reparameterization with Gumbel-Softmax", 2017).

    Example::

        >>> logits = torch.zeros(4, requires_grad=True)
        >>> y = RelaxedOneHotCategorical(torch.tensor(0.5), logits=logits).rsample((16,))
        >>> y[:, 0].mean().backward()

    Args:
        temperature, probs, logits, validate_args: as of :class:`ExpRelaxedCategorical`.

    Raises:
        ValueError: as :class:`~rsample.distributions.Categorical`.
    """

    _examples = (Example({"temperature": 0.5, "logits": (-1.0, 1.0, 3)}),)

    _exponentiated = True
    base_dist: ExpRelaxedCategorical

    def __init__(
        self,
        temperature: Tensor | float,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        # The categorical distribution checks its weights.
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        TransformedDistribution.__init__(self, base, ExpTransform(), validate_args=False)
        self._check_arguments(validate_args, but=NAMES)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> RelaxedOneHotCategorical:
        new: RelaxedOneHotCategorical = self._get_checked_instance(RelaxedOneHotCategorical, _instance)
        TransformedDistribution.expand(self, batch_shape, _instance=new)
        return new

    @property
    def _relaxed(self) -> ExpRelaxedCategorical:
        return self.base_dist

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density; a coordinate that has underflowed to 0 counts as the least number of its dtype."""
        if self._validate_args:
            self._validate_sample(value)
        least, _ = POSITIVE.limits(value.dtype)
        y = torch.log(value.clamp(min=least))
        log_prob: Tensor = self.base_dist.log_prob(y) - y.sum(-1)
        return log_prob
