"""The examples of a vmapped draw: whether they share one draw, and how their tensors are laid out.

A `marker`, an empty tensor, tells that examples differ even where no parameter is mapped; see
:mod:`draws.autograd`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def vmapped_draw(function: type[Function], info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
    """The vmap rule of a draw: apply(operators, key, marker, shape, dtype, *params)."""
    operators, key, marker, shape, dtype, *params = args
    _, key_dims, marker_dim, _, _, *param_dims = in_dims
    if is_a_draw_an_example(key_dims, marker_dim):
        examples = each_example(function, info, in_dims, args)
        outputs = _stacked(examples) if isinstance(examples[0], tuple) else torch.stack(examples)
    else:
        params = [
            p if d is None else aligned(p.movedim(d, 0), len(shape) + event)
            for p, d, event in zip(params, param_dims, operators.events, strict=True)
        ]
        marker = batch_first(marker, marker_dim, info.batch_size)
        outputs = function.apply(operators, key, marker, (info.batch_size, *shape), dtype, *params)
    return outputs, (0,) * len(outputs) if isinstance(outputs, tuple) else 0


def vmapped_backward(
    function: type[Function], info: Any, in_dims: tuple[Any, ...], number: int, *args: Any
) -> tuple[tuple[Tensor, ...], Any]:
    """The vmap rule of a draw's gradients: apply(operators, key, marker, needs, *given, *params).

    Args:
        number: of the given tensors, of the sample's shape.
    """
    operators, key, marker, needs, *tensors = args
    _, key_dims, marker_dim, _, *dims = in_dims
    out = (0,) * sum(needs)
    if is_a_draw_an_example(key_dims, marker_dim):
        return _stacked(each_example(function, info, in_dims, args)), out
    marker = batch_first(marker, marker_dim, info.batch_size)
    batched = [batch_first(t, d, info.batch_size) for t, d in zip(tensors, dims, strict=True)]
    given, params = batched[:number], batched[number:]
    full = [aligned(p, given[0].dim() - 1 + event) for p, event in zip(params, operators.events, strict=True)]
    grads = function.apply(operators, key, marker, needs, *given, *full)
    shapes = [p.shape for p, needed in zip(params, needs, strict=True) if needed]
    return tuple(g.reshape(shape) for g, shape in zip(grads, shapes, strict=True)), out


def is_a_draw_an_example(key_dims: Sequence[int | None], marker_dim: int | None) -> bool:
    """Whether each example starts the stream of its key again: it has its own key, or the same noise as the others."""
    return marker_dim is None or any(dim is not None for dim in key_dims)


def each_example(function: type[Function], info: Any, in_dims: tuple[Any, ...], args: tuple[Any, ...]) -> list[Any]:
    operators, *rest = args
    return [
        function.apply(operators, *(_example(x, d, i) for x, d in zip(rest, in_dims[1:], strict=True)))
        for i in range(info.batch_size)
    ]


def _stacked(examples: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    return tuple(torch.stack(outputs) for outputs in zip(*examples, strict=True))


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
