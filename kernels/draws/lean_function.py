"""What the torch.autograd.Function classes of draws are made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from ..runtime.backend import forced, use_backend


class LeanFunction(Function):
    """A Function that costs 3 us to apply in eager mode, and not 17.

    functorch's transforms need `setup_context`, and for a Function that has one torch binds the arguments to the
    signature on every call. So each class has a twin whose forward takes the context itself, for use outside of them.
    """

    _eager: type[Function]

    def __init_subclass__(cls) -> None:
        tangents, set_up, gradients = cls.jvp, cls.setup_context, cls.backward

        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            ctx.backend = forced()
            set_up(ctx, inputs, output)

        def backward(ctx: Any, *grads: Any) -> Any:
            # Backward may run after the block of `use_backend` that the draw stood in, or in a thread of autograd's.
            if ctx.backend is None or forced() is not None:
                return gradients(ctx, *grads)
            with use_backend(ctx.backend):
                return gradients(ctx, *grads)

        def jvp(ctx: Any, *args: Any) -> Any:
            result = tangents(ctx, *args)
            if result is not None and _forward_mode_levels() > 1:
                # torch drops the outer derivative of what is computed here, and returns zeros without a word.
                raise NotImplementedError(
                    "torch cannot take forward-mode derivatives of the forward-mode derivative of a draw: "
                    "take one of the two in reverse mode"
                )
            return result

        cls.jvp = staticmethod(jvp)  # type: ignore[method-assign]
        cls.setup_context = staticmethod(setup_context)  # type: ignore[method-assign]
        cls.backward = staticmethod(backward)  # type: ignore[method-assign]

        def forward(ctx: Any, *args: Any) -> Any:
            output = cls.forward(*args)
            cls.setup_context(ctx, args, output)
            return output

        methods = {
            name: staticmethod(f) for name, f in (("forward", forward), ("backward", cls.backward), ("jvp", cls.jvp))
        }
        cls._eager = type(f"{cls.__name__}Eager", (Function,), methods)

    @classmethod
    def apply(cls, *args: Any) -> Any:
        if torch._C._are_functorch_transforms_active():
            return super().apply(*args)
        return cls._eager.apply(*args)


def _forward_mode_levels() -> int:
    """How many of functorch's levels are of forward mode."""
    stack = torch._C._functorch.get_interpreter_stack() or []
    return sum(level.key() == torch._C._functorch.TransformType.Jvp for level in stack)


def wants_derivative(tensors: Sequence[Tensor]) -> bool:
    """Whether reverse or forward mode may ask for a derivative of a function of `tensors`."""
    if torch.is_grad_enabled():
        for t in tensors:
            if t.requires_grad:
                return True
    return forward_ad._current_level >= 0


# The shape, dtype and device of each parameter of a draw that is linear in them.
Like = Sequence[tuple[torch.Size, torch.dtype, torch.device]]


def stand_ins(like: Like, grad: Tensor) -> list[Tensor]:
    """Tensors with these shapes, dtypes and devices, which is all that a linear law's gradient reads.

    Args:
        grad: stands in where it is such a tensor.
    """
    return [
        grad
        if shape == grad.shape and dtype == grad.dtype
        else torch.empty_strided(shape, (0,) * len(shape), dtype=dtype, device=device)
        for shape, dtype, device in like
    ]


def or_zeros(tensors: Sequence[Tensor | None], like: Like) -> list[Tensor]:
    """`tensors`, with zeros in the place of those that are None."""
    return [
        torch.zeros((), dtype=dtype, device=device).expand(shape) if t is None else t
        for t, (shape, dtype, device) in zip(tensors, like, strict=True)
    ]
