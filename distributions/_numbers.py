"""Distributions of numbers that torch.distributions has not, with one law: all but their own formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.utils import broadcast_all

from rsample.kernels.draws.draw import Sampler

from ._arguments import broadcastable
from ._sampling import FusedSampling, widened


class _Expandable(Distribution):
    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        for name in self.arg_constraints:
            setattr(_instance, name, getattr(self, name).expand(batch_shape))
        Distribution.__init__(_instance, torch.Size(batch_shape), validate_args=False)
        _instance._validate_args = self._validate_args
        return _instance


class Numbers(FusedSampling, _Expandable):
    """Base: a class sets `_samplers`, one, and `arg_constraints` in the order of its law's parameters."""

    has_rsample = True
    _samplers: ClassVar[tuple[Sampler, ...]] = ()

    def _initialise(self, validate_args: bool | None, **given: Tensor | float) -> None:
        """Keep and check the parameters, all of them by their names."""
        given = dict(zip(given, broadcastable(**given), strict=True))
        for name, value in zip(given, broadcast_all(*given.values()), strict=True):
            setattr(self, name, value)
        Distribution.__init__(self, value.shape, validate_args=False)
        self._accept(validate_args, **given)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._checked_log_prob_at(value)

    def _at(self, function: Callable[..., Tensor], value: Tensor) -> Tensor:
        """A function of a sample and the parameters, in float32 where all are narrower."""
        if self._validate_args:
            self._validate_sample(value)
        return self._of_parameters(function, value)

    def _of_parameters(self, function: Callable[..., Tensor], *values: Tensor) -> Tensor:
        return widened(function, *values, *(getattr(self, name) for name in self.arg_constraints))
