"""Where a sample may lie, and how it is kept there when rounding would carry it out."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class End:
    """An upper bound of samples that depends on the parameters.

    Attributes:
        reference: `(step, *parameters) -> greatest`, the greatest sample: see `Support.step` and `below`.
        closed: the bound itself is a sample, so that only the rounding to float16 and bfloat16 leads past it.
    """

    reference: Callable[..., Tensor]
    closed: bool = False


@dataclass(frozen=True, eq=False)  # compared and hashed by identity, at no cost to a small draw
class Support:
    """Bounds of a sample that rounding must not carry it to, nor beyond.

    Attributes:
        lower: 0.0, -1.0 or -inf.
        upper: 1.0 or inf.
        end: a bound that depends on the parameters, beside `upper`.
        float16_only: samples of wider dtypes come near `lower` and `upper` with extreme parameters only, and their
            kernels have no instruction to spare.
    """

    lower: float | None = None
    upper: float | None = None
    end: End | None = None
    float16_only: bool = False

    @functools.cache  # noqa: B019 - a process makes a handful of them
    def limits(self, dtype: torch.dtype) -> tuple[float, float]:
        """The least and the greatest number of `dtype` inside of the constant bounds; infinite where there is none."""
        if self.float16_only and dtype != torch.float16:
            return -math.inf, math.inf
        info = torch.finfo(dtype)
        # float16 has few exponents, so that its subnormal numbers count; the others' are flushed to 0 on GPUs.
        tiny = info.smallest_normal * (info.eps if dtype == torch.float16 else 1)
        inside = {0.0: tiny, -1.0: info.eps / 2 - 1, -math.inf: info.min, 1.0: 1 - info.eps / 2, math.inf: info.max}
        lower = -math.inf if self.lower is None else inside[self.lower]
        upper = math.inf if self.upper is None else inside[self.upper]
        return lower, upper

    @functools.cache  # noqa: B019
    def within_reach(self, dtype: torch.dtype) -> bool:
        """Whether samples of `dtype` come near a bound at all."""
        return self.ends(dtype) or self.limits(dtype) != (-math.inf, math.inf)

    def ends(self, dtype: torch.dtype) -> bool:
        """Whether samples of `dtype` come near `end`."""
        return self.end is not None and not (self.end.closed and dtype.itemsize > 2)

    @functools.cache  # noqa: B019
    def step(self, dtype: torch.dtype) -> float:
        """h - step * |h| lies, or rounds to a normal number of `dtype`, below h: below `end` if it is h.

        The gap below a number of `dtype` is between eps / 2 and eps times as large as the number, and rounding goes no
        farther than half of it. 0 where samples do not come near `end`.
        """
        return 0.6 * torch.finfo(dtype).eps if self.ends(dtype) else 0.0

    @functools.cache  # noqa: B019
    def greatest(self, dtype: torch.dtype) -> Callable[..., Tensor] | None:
        """`(sample, *parameters) -> ` the greatest sample of `dtype`, where it depends on the parameters."""
        if self.end is None or not self.ends(dtype):
            return None
        end, step = self.end.reference, self.step(dtype)
        return lambda _, *params: end(step, *params)

    def bounded(self, sample: Tensor, params: Sequence[Tensor], lower: Any, upper: Any, step: Any) -> Tensor:
        """The sample kept inside, NaN apart; the last three are `limits` and `step`."""
        if self.end is not None:
            sample = torch.minimum(sample, self.end.reference(step, *params))
        if self.lower is None and self.upper is None:
            return sample
        return torch.clamp(sample, lower, upper)


def below(bound: Tensor, step: Any) -> Tensor:
    return torch.sub(bound, torch.abs(bound), alpha=step)


def finite(sample: Tensor) -> Tensor:
    """A sample as its gradient takes it: 0 where it has overflowed, and is kept at the greatest number."""
    return torch.where(torch.abs(sample) == math.inf, 0.0, sample)


# Of location-scale families, whose samples are beyond the greatest number where a parameter is about as great.
REAL_LINE = Support(-math.inf, math.inf, float16_only=True)
HALF_LINE = Support(None, math.inf, float16_only=True)
FINITE = Support(None, math.inf)
POSITIVE = Support(0.0, math.inf)
UNIT_INTERVAL = Support(0.0, 1.0)
