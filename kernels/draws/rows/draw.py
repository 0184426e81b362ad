"""One draw over rows from checked arguments: the entry of this layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...engines.outputs import as_tuple
from ..draw import draw
from . import native
from .ops import RowDraw, race


def draw_rows(
    kind: RowDraw,
    params: dict[str, Tensor],
    shape: Sequence[int],
    *,
    generator: torch.Generator | None = None,
    key: Tensor | None = None,
    differentiable: bool = False,
) -> tuple[Tensor, ...]:
    """Draw one sample for each row of `shape`, whose last dimension is that of the categories.

    Errors are those of :func:`draw`.

    Args:
        kind: what to draw.
        params: the weights or logits, of shape (..., K) that broadcasts to `shape`; and, for a relaxed draw, the
            temperature, one number.
        generator, key, differentiable: as in :func:`draw`.

    Returns:
        The sample and, where `kind` asks for it, its log-probability.
    """
    if key is None and generator is None and not torch.compiler.is_compiling():
        drawn = native.draw(kind, params, shape, differentiable)
        if drawn is not None:
            return (drawn,)
    return as_tuple(
        draw(kind, list(params.values()), shape, generator=generator, key=key, differentiable=differentiable)
    )


def count_categories(
    probs: Tensor, shape: torch.Size, *, generator: torch.Generator | None = None, key: Tensor | None = None
) -> Tensor:
    """How often each category occurs along the first dimension of a draw of `shape`; of the dtype of `probs`.

    Arguments and errors are those of :func:`draw_rows`.
    """
    if key is None and generator is None and not torch.compiler.is_compiling():
        counted = native.counts(probs, shape)
        if counted is not None:
            return counted
    kind = race(from_probs=True, one_hot=False, log_prob=False, straight_through=False)
    (category,) = draw_rows(kind, {"probs": probs}, shape, generator=generator, key=key)
    category = category.movedim(0, -1)
    counts = torch.zeros(shape[1:], dtype=torch.int64, device=probs.device)
    return counts.scatter_add(-1, category, torch.ones_like(category)).type_as(probs)
