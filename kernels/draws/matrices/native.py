"""Draws that are a matrix product by the native core: native/products.h."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ...engines.cpu import product as compiled
from ...engines.cpu import product_library as library
from ...engines.matrix_product import KINDS, MatrixProduct
from .. import native_core
from ..autograd import AffineDraw
from .ops import OPERATORS


class Product:
    """A kind of draw as the core knows it."""

    def __init__(self, kind: MatrixProduct) -> None:
        self.kind = kind
        self._handle: int | None = None
        self._drawn_before = False

    def draw(self, params: Sequence[Tensor], shape: Sequence[int], differentiable: bool) -> tuple[Tensor, ...] | None:
        """A draw from the default generator, or None where it is left to Python."""
        core = native_core.CORE
        if core is None:
            if self._drawn_before:
                native_core.begin()
            self._drawn_before = True
            return None
        if self._handle is None:
            self._handle = core.product(self, _node_name(self.kind), len(self.kind.parameters), self.kind.norm)
        drawn: Any = core.draw_product(self._handle, params, shape, differentiable)
        if drawn is not True:
            return drawn
        self._learn(core, params, tuple(shape))
        return core.draw_product(self._handle, params, shape, differentiable)

    def _learn(self, core: Any, params: Sequence[Tensor], shape: tuple[int, ...]) -> None:
        """Tells the core how a draw is made, where product.h multiplies."""
        forward = backward = None
        factor = params[1]
        parts: list[Any] = [None]
        if 1 in factor.stride()[-2:]:
            parts = [library.forward(factor.dtype), library.backward(factor.dtype)]
        if None not in parts:
            plan = compiled.forward_plan(self.kind, shape, *[(p.shape, p.stride()) for p in params])
            forward = None if plan is None else [number for part in plan for number in part]
            backward = compiled.backward_plan(self.kind, torch.Size(shape), factor.shape)
            functions = (parts[0].forward, parts[1].backward, parts[0].stream_normal)
            addresses = (ctypes.cast(f, ctypes.c_void_p).value for f in functions)
            core.learn_loops(self._handle, factor.dtype == torch.float64, *addresses)
        core.learn_product(self._handle, params, shape, forward, backward)

    def gradients(
        self,
        words: Tensor,
        grads: Sequence[Tensor | None],
        params: Sequence[Tensor],
        shape: tuple[int, ...],
        sizes: tuple[tuple[int, ...], ...],
        needs: tuple[bool, ...],
        teaches: bool,
    ) -> tuple[Tensor | None, ...]:
        """The gradients of a draw of the core, where its own do not do; as those of native_core.NativeLaw."""
        some = next(g for g in grads if g is not None)
        ctx = SimpleNamespace(
            operators=OPERATORS[self.kind],
            saved_tensors=(words.view(torch.uint64), None),
            like=[(torch.Size(s), some.dtype, some.device) for s in sizes],
            needs_input_grad=needs,
            backend=None,
        )
        return tuple(AffineDraw.backward(ctx, *grads)[-len(needs) :])


def _node_name(kind: MatrixProduct) -> str:
    return "".join(kind.name.title().split("_")) + "Backward"


# By the kinds' names.
PRODUCTS = {kind.name: Product(kind) for kind in KINDS}
