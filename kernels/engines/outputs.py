"""What a draw gives: a sample, or a tuple of a sample and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

# Beside the sample its log-density, or the norm of its noise.
Outputs = Tensor | tuple[Tensor, ...]
# A draw of one kind, from a key and parameters.
Run = Callable[[Sequence[Tensor], Sequence[Tensor]], Outputs]


def as_tuple(outputs: Outputs) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def returned(outputs: Any) -> Outputs:
    """What an operator has returned: of a list of one tensor, the tensor."""
    if isinstance(outputs, Tensor):
        return outputs
    return outputs[0] if len(outputs) == 1 else tuple(outputs)
