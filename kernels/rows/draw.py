"""One draw over rows from checked arguments: the entry of this layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import native_core
from ..draw import draw
from ..outputs import as_tuple
from . import autograd  # noqa: F401 - what gradients of these draws are
from .ops import Kind, Race


def draw_rows(
    kind: Kind,
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
    if key is None and generator is None and not differentiable and not torch.compiler.is_compiling():
        drawn = native_core.race(kind, params, shape) if isinstance(kind, Race) else None
        if drawn is not None:
            return (drawn,)
    return as_tuple(
        draw(kind, list(params.values()), shape, generator=generator, key=key, differentiable=differentiable)
    )
