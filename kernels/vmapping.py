"""The examples of a vmapped draw: whether they share one draw, and how their tensors are laid out.

A `marker`, an empty tensor, tells that examples differ even where no parameter is mapped; see
:mod:`rsample.kernels.autograd`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.autograd import Function


def is_a_draw_an_example(key_dims: Sequence[int | None], marker_dim: int | None) -> bool:
    """Whether each example starts the stream of its key anew: it has its own key, or the same noise as the others."""
    return marker_dim is None or any(dim is not None for dim in key_dims)


def each_example(function: type[Function], info: Any, in_dims: tuple[Any, ...], args: tuple[Any, ...]) -> list[Any]:
    operators, *rest = args
    return [
        function.apply(operators, *(_example(x, d, i) for x, d in zip(rest, in_dims[1:], strict=True)))
        for i in range(info.batch_size)
    ]


def _example(value: Any, dim: Any, index: int) -> Any:
    """One example's value of an argument of a vmapped function."""
    if isinstance(dim, tuple):
        return tuple(_example(v, d, index) for v, d in zip(value, dim, strict=True))
    return value if dim is None else value.select(dim, index)


def batch_first(value: Tensor, dim: int | None, batch_size: int) -> Tensor:
    return value.expand(batch_size, *value.shape) if dim is None else value.movedim(dim, 0)


def aligned(batched: Tensor, dim: int) -> Tensor:
    """`batched` (B, *shape) as (B, 1, ..., 1, *shape) of `dim` dimensions: it broadcasts with a batched sample."""
    return batched.reshape(batched.shape[0], *(1,) * (dim - batched.dim()), *batched.shape[1:])
