"""Draws whose parameters can also be seen in the shape that they were broadcast to.

A distribution's attribute (`d.scale`) is the parameter that it was given, expanded. The gradient that a draw's kernel
gives is reduced to the shape that was given, which is all that a training step reads; but hooks, `retain_grad` and
`torch.autograd.grad` of the attribute are to see the whole gradient, as with torch.distributions. So a draw has both
among its inputs, and decides in backward to which of them its gradient goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.graph import get_gradient_edge

from ..engines.outputs import Outputs
from ..stream.philox_key import Key
from .operators import Operators

# By position among a draw's parameters: the attribute that is the parameter, expanded.
Attributes = dict[int, Tensor]

# A leaf that takes no gradient. The engine reaches it in every backward() that asks for no gradients in particular.
_PROBE = torch.empty(0, device="cpu", requires_grad=True)
_PROBE_NODE = get_gradient_edge(_PROBE).node


class AttributedDraw(Function):
    """A draw in eager mode: apply(operators, key, shape, dtype, positions, probe, *attributes, *params)."""

    @staticmethod
    def forward(
        ctx: Any,
        operators: Operators,
        key: Key,
        shape: Sequence[int],
        dtype: torch.dtype,
        positions: Sequence[int],
        probe: Tensor,
        *tensors: Tensor,
    ) -> Outputs:
        function: Any = operators.function
        ctx.attributes = dict(zip(positions, tensors, strict=False))
        params = tensors[len(positions) :]
        output = function.forward(operators, key, None, shape, dtype, *params)
        function.setup_context(ctx, (operators, key, None, shape, dtype, *params), output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        seen = {i: attribute for i, attribute in ctx.attributes.items() if _is_seen(attribute)}
        inner = ctx
        if seen:
            saved = list(ctx.saved_tensors)
            inner = SimpleNamespace(**{name: getattr(ctx, name) for name in ("operators", "shape", "dtype", "backend")})
            inner.needs_input_grad = ctx.needs_input_grad
            if hasattr(ctx, "like"):
                inner.like = [_like(seen[i]) if i in seen else like for i, like in enumerate(ctx.like)]
            else:
                first = len(saved) - len(ctx.operators.law.parameters)
                for i, attribute in seen.items():
                    saved[first + i] = attribute
            inner.saved_tensors = tuple(saved)
        of_params = list(ctx.operators.function.backward(inner, *grads)[5:])
        of_attributes = [of_params[i] if i in seen else None for i in ctx.attributes]
        for i in seen:
            of_params[i] = None
        return *(None,) * 6, *of_attributes, *of_params


def _like(tensor: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return tensor.shape, tensor.dtype, tensor.device


def _is_seen(attribute: Tensor) -> bool:
    """Whether the gradient of an attribute may be looked at, in the backward pass that runs."""
    if attribute._backward_hooks or attribute.retains_grad:
        return True
    # Of the gradients that torch.autograd.grad is asked for, the attribute's may be one.
    return not torch._C._will_engine_execute_node(_PROBE_NODE)


def draw(
    operators: Operators,
    key: Key,
    shape: Sequence[int],
    dtype: torch.dtype,
    attributes: Attributes,
    params: Sequence[Tensor],
) -> Any:
    """The draw of a key, whose gradient also reaches the attributes."""
    return AttributedDraw.apply(
        operators, key, tuple(shape), dtype, tuple(attributes), _PROBE, *attributes.values(), *params
    )
