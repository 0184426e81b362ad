"""Valid parameters of each class: whatever runs over all classes makes them of these, and needs no list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

# param(low, high, *event): a parameter of numbers in [low, high] and of event shape `event`.
Param = Callable[..., Tensor]


class Example(NamedTuple):
    """One way to give a class its parameters. A class has a tuple of them, `_examples`.

    Attributes:
        parameters: by the constructor's names, arguments of a `Param`, or a function of a `Param`, or the value itself.
        scipy: `(scipy.stats, **parameters) -> ` the law as scipy has it, of numbers.
        torch: `(torch.distributions, **parameters) -> ` what users of torch write, where torch has no such class.
        rounding: how many float32 roundings of max(|x|, 1) a float32 sample may be from the formula in float64.
    """

    parameters: Mapping[str, Any]
    scipy: Callable[..., Any] | None = None
    torch: Callable[..., Any] | None = None
    rounding: float = 16

    @property
    def has_rows(self) -> bool:
        """Whether a parameter has an event's shape."""
        return any(
            callable(value) or (isinstance(value, tuple) and len(value) > 2) for value in self.parameters.values()
        )

    def arguments(self, param: Param) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            name: param(*value) if isinstance(value, tuple) else value(param) if callable(value) else value
            for name, value in self.parameters.items()
        }


REAL, POSITIVE, PROBS, LOGITS = (-1.5, 1.5), (0.4, 2.5), (0.05, 0.95), (-3.0, 3.0)
LOC_SCALE = {"loc": REAL, "scale": POSITIVE}
# The stream contract bounds normal noise by 2e-5; measured are 5e-6 or 80 roundings, times a scale of up to 2.5.
NORMAL_ROUNDING = 256


def lower_triangular(param: Param) -> Tensor:
    """A matrix with a positive diagonal, as dense as `param` makes it."""
    return param(0.5, 1.0, 3, 3).tril()
