"""Draws over rows by the native core, of plain tensors and from the default generator; what it leaves is Python's.

`native/rows.h` does what :mod:`engines.cpu.rows` and the classes of
:mod:`draws.rows.autograd` do, with the same bits and the same gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ...engines.cpu import rows as compiled
from ...engines.triton.launch import key_arguments
from ...runtime.language import HAS_TRITON
from ...stream.noise import SIGNIFICAND_BITS, elements_per_block
from .. import keys, native_core
from ..lean_function import wants_derivative
from . import autograd  # noqa: F401 - what gradients of these draws are
from .ops import Race, Relaxed, RowDraw, race

if HAS_TRITON:
    from ...engines.triton import race as race_kernels


class RowLaw:
    """A kind of draw as the nodes of its gradients know it."""

    def __init__(self, kind: RowDraw) -> None:
        self._kind = kind

    def gradients(
        self,
        words: Tensor,
        grads: Sequence[Tensor | None],
        saved: Sequence[Tensor],
        shape: tuple[int, ...],
        sizes: tuple[tuple[int, ...], ...],
        needs: tuple[bool, ...],
        teaches: bool,
    ) -> tuple[Tensor | None, ...]:
        """The gradients where the core's own do not do; arguments as of :meth:`draws.native_core.NativeLaw`'s.

        Args:
            saved: the parameters and, where it is small, a copy of the sample.
        """
        params, copy = saved[: len(needs)], saved[len(needs) :]
        ctx = SimpleNamespace(
            kind=self._kind,
            saved_tensors=(words.view(torch.uint64), None, *params, *(copy or (None,))),
            shape=shape,
            needs_input_grad=needs,
            backend=None,
        )
        return tuple(self._kind.function.backward(ctx, *grads)[-len(needs) :])


_STRAIGHT_THROUGH = {from_probs: RowLaw(race(from_probs, True, False, True)) for from_probs in (False, True)}
_RELAXED = {
    exponentiated: RowLaw(Relaxed(exponentiated, log_prob=False, pathwise=True)) for exponentiated in (False, True)
}


def draw(kind: RowDraw, params: dict[str, Tensor], shape: Sequence[int], differentiable: bool) -> Tensor | None:
    """One sample for each row, or None where it is left to Python.

    Args:
        kind: without a log-probability.
    """
    core = native_core.CORE
    if core is None or kind.log_prob:
        return None
    if isinstance(kind, Race):
        (weights,) = params.values()
        return _race(core, kind, weights, shape, differentiable)
    logits, temperature = params.values()
    differentiable = differentiable and kind.pathwise
    given = (_RELAXED[kind.exponentiated], logits, temperature, shape, kind.exponentiated, differentiable)
    drawn: Any = core.relaxed(*given)
    if drawn is not True:
        return drawn
    names = ["relaxed_scores"]
    if differentiable and wants_derivative((logits, temperature)):
        names.append("relaxed_gradient")
    return core.relaxed(*given) if _learn(core, logits, names) else None


def _learn(core: Any, weights: Tensor, names: Sequence[str]) -> bool:
    """Tells the core of functions for weights of a dtype; whether there are such."""
    for name in names:
        address = compiled.address(name, weights.dtype)
        if address == 0:
            return False
        core.learn_row_function(weights, name, address)
    return True


def _race(core: Any, kind: Race, weights: Tensor, shape: Sequence[int], differentiable: bool) -> Tensor | None:
    differentiable = differentiable and kind.straight_through
    if differentiable and not weights.is_cpu:
        return None
    given = (_STRAIGHT_THROUGH[kind.from_probs], weights, shape, kind.from_probs, kind.one_hot, differentiable)
    drawn: Any = core.race(*given)
    if drawn is not True:
        return drawn
    if not weights.is_cpu:
        return _learn_race(core, kind, weights.detach(), shape)
    by_inversion = weights.shape != torch.Size(shape)
    names = ["inversion" if by_inversion else "race"]
    if differentiable and wants_derivative((weights,)):
        names.append("probs_gradient")
    if not _learn(core, weights, names):
        return None
    if by_inversion:
        core.learn_walk(weights, shape, compiled.walk(weights, shape))
    return core.race(*given)


def _learn_race(core: Any, kind: Race, weights: Tensor, shape: Sequence[int]) -> Tensor | None:
    """A race on a GPU by Python, of which the core then knows the launch; None where this is not known to be one."""
    if not HAS_TRITON or weights.dtype not in SIGNIFICAND_BITS:
        return None
    per_block, device = elements_per_block(weights.dtype), weights.device
    key = keys.reserve(device, -(-weights.numel() // per_block), None)
    from_probs, one_hot = kind.from_probs, kind.one_hot
    (drawn,), launched = race_kernels.launched_race(
        key, weights, shape, from_probs=from_probs, one_hot=one_hot, log_prob=False
    )
    if launched is not None and key_arguments(key, device)[0] == "state":
        core.drive(*native_core.driver())
        core.learn_launch(0, (weights,), (from_probs, one_hot), None, *native_core.parts(launched, device), ())
    return drawn


def counts(probs: Tensor, shape: Sequence[int]) -> Tensor | None:
    """How often each category occurs along the first dimension of a draw of `shape`; None where that is Python's."""
    core = native_core.CORE
    if core is None or not probs.is_cpu:
        return None
    counted: Any = core.counts(probs, shape)
    if counted is True and _learn(core, probs, ["inversion"]):
        core.learn_walk(probs, shape, compiled.walk(probs, shape))
        counted = core.counts(probs, shape)
    return None if counted is True else counted
