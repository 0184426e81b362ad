"""Logistic-normal distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import StickBreakingTransform

from rsample.kernels.draws.rows.simplex import stick_breaking

from ._examples import Example
from .normal import Normal
from .transformed_distribution import TransformedDistribution

if TYPE_CHECKING:
    from typing_extensions import Self


class _StickBreakingTransform(StickBreakingTransform):
    def _call(self, x: Tensor) -> Tensor:
        return stick_breaking(x)


class LogisticNormal(TransformedDistribution, torch.distributions.LogisticNormal):
    r"""Distribution over the simplex of K + 1 coordinates: K normal numbers after a stick-breaking transform.

    The normal numbers are drawn in one kernel, with `loc`'s and `scale`'s pathwise gradients; the transform is torch's,
    and keeps nothing but these numbers for backward.

    Example::

        >>> LogisticNormal(torch.zeros(3), torch.ones(3)).rsample((16,)).shape
        torch.Size([16, 4])

    Args:
        loc: mean of the normal numbers, a number or floating-point tensor.
        scale: their standard deviation, positive; broadcasts with `loc`.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `scale` is not positive or an argument is NaN.
        RuntimeError: `loc` and `scale` do not broadcast.
    """

    _examples = (Example({"loc": (-1.0, 1.0, 2), "scale": (0.5, 2.0, 2)}),)

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        base = Normal(loc, scale, validate_args=validate_args)
        if not base.batch_shape:
            base = base.expand([1])
        TransformedDistribution.__init__(self, base, _StickBreakingTransform(), validate_args=False)
        self._check_arguments(validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        new: Self = self._get_checked_instance(LogisticNormal, _instance)
        super().expand(torch.Size(batch_shape), _instance=new)
        return new
