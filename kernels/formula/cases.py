"""Functions that are another formula from element to element.

In torch all formulas are computed, and one is picked. A compiled loop computes each for the elements of a tile that are
its own, next to each other in vectors; see :mod:`formula.trace`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .trace import Symbol


class Case(NamedTuple):
    """A formula, and whose it is.

    Attributes:
        mask: of the elements that take it, without those of earlier cases; None for the last one, which takes the rest.
        function: of the operands, a tuple.
        operands: tensors of which also the elements of other cases give finite numbers.
    """

    mask: Tensor | None
    function: Callable[..., tuple[Tensor, ...]]
    operands: tuple[Tensor, ...]


def by_case(*cases: Case) -> tuple[Tensor, ...]:
    """The results of each element's case."""
    *others, last = cases
    if isinstance(last.operands[0], Symbol):
        masks: list[Any] = [case.mask for case in others]
        return last.operands[0].trace.choose(masks, [case[1:] for case in cases])
    results = last.function(*last.operands)
    for case in reversed(others):
        assert case.mask is not None
        chosen = case.function(*case.operands)
        results = tuple(torch.where(case.mask, x, y) for x, y in zip(chosen, results, strict=True))
    return results
