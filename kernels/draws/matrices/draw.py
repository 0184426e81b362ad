"""One draw that is a matrix product from checked arguments: the entry of this layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...engines.matrix_product import MatrixProduct
from ...engines.outputs import as_tuple
from ..draw import draw
from .native import PRODUCTS
from .ops import OPERATORS


def draw_product(
    kind: MatrixProduct,
    params: dict[str, Tensor],
    shape: Sequence[int],
    *,
    generator: torch.Generator | None = None,
    key: Tensor | None = None,
    differentiable: bool = False,
) -> tuple[Tensor, ...]:
    """Draw one sample of `shape`, whose last dimension is that of the event; errors are those of :func:`draw`.

    Args:
        kind: what to draw.
        params: its parameters in order, by name: tensors whose batch dimensions broadcast to those of `shape`.
        generator, key, differentiable: as in :func:`draw`.

    Returns:
        A contiguous sample of the parameters' promoted dtype and, where `kind` asks for it, the squared norm of each
        row's noise, of shape `shape[:-1]`.
    """
    first = next(iter(params.values()))
    is_short = key is None and generator is None and isinstance(first, Tensor) and first.is_cpu
    if is_short and not torch.compiler.is_compiling():
        fast = PRODUCTS[kind.name].draw(list(params.values()), shape, differentiable)
        if fast is not None:
            return fast
    operators = OPERATORS[kind]
    drawn = draw(operators, list(params.values()), shape, generator=generator, key=key, differentiable=differentiable)
    return as_tuple(drawn)
