"""A draw from checked arguments: the entry of the kernels layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..laws.law import Law
from ..runtime.dtensor import any_dtensor
from ..stream.philox_key import Key
from . import attributes as attributed
from . import keys, native_core
from .attributes import Attributes
from .autograd import operators_of
from .lean_function import wants_derivative
from .operators import Operators, are_plain
from .ops import LawOperators
from .planned import PLANNED
from .promotion import reconciled
from .recording import record


def draw(
    operators: Operators,
    params: Sequence[Tensor],
    shape: Sequence[int],
    *,
    generator: torch.Generator | None = None,
    key: Tensor | None = None,
    differentiable: bool = False,
    attributes: Attributes | None = None,
) -> Any:
    """Draw one sample.

    Every argument is checked before anything is drawn or any generator state is consumed.

    Args:
        operators: what to draw.
        params: floating-point tensors on one device (0-dim CPU tensors go with any device), whose dimensions but those
            of an event broadcast to `shape`.
        shape: of the sample; of categories, of their one-hot rows.
        generator: reserve the key from this generator instead of the device's default one.
        key: draw exactly the sample of this key, a uint64 tensor (seed, offset); excludes `generator`.
        differentiable: let gradients reach the parameters.
        attributes: of some parameters, by position, what they were expanded to and gradients may be asked of too.

    Returns:
        A contiguous tensor of `shape`, of the parameters' promoted dtype, or a tuple of `operators.outputs` tensors.
        DTensors where a parameter is one; see :mod:`draws.sharded`.

    Raises:
        TypeError: a parameter, key or generator of the wrong type or a parameter that is not floating-point.
        ValueError: both `key` and `generator`, or a key of the wrong shape or dtype.
        RuntimeError: parameters, key or generator on different devices.
        NotImplementedError: a DTensor as a parameter of what is not drawn in parts.
    """
    params, dtype = reconciled(operators.parameters, params)
    if any_dtensor(params):
        from . import sharded

        return sharded.draw(
            operators, params, shape, dtype, generator=generator, key=key, differentiable=differentiable
        )
    device = params[0].device
    generator = keys.check_source(key, generator, device)
    blocks = operators.blocks(params, shape, dtype)
    if keys.watched():
        params = _with_attributes(params, attributes)
        source = keys.take(key, generator, device, blocks)
        if not differentiable and (source.recorded or source.transformed):
            params = [p.detach() for p in params]
        if source.recorded:
            return record(operators.forward_op, source.key, params, shape, *operators.options(dtype), **operators.marks)
        if source.transformed:
            return operators.function.apply(operators, tuple(source.key), source.marker, tuple(shape), dtype, *params)
        taken = source.key
    else:
        if are_plain(params) and not wants_derivative(params):
            taken = keys.borrow(device, blocks, generator) if key is None else Key((key,))
            return operators.run_forward(taken, params, shape, dtype)
        taken = keys.reserve(device, blocks, generator) if key is None else Key((key,))
    if attributes and differentiable and torch.is_grad_enabled():
        if forward_ad._current_level < 0:
            return attributed.draw(operators, taken, shape, dtype, attributes, params)
        params = _with_attributes(params, attributes)
    return operators.from_key(taken, params, shape, dtype, differentiable)


class Sampler:
    """Draws of one law. Create one per law and process: it defines the law's operators, of the type it is told.

    Args:
        native: how the native core knows the draws of these operators; None where it does not.
    """

    def __init__(
        self,
        law: Law,
        operators: type[LawOperators] = LawOperators,
        native: Callable[[LawOperators], native_core.NativeLaw] | None = None,
    ) -> None:
        self.law = law
        self.operators = operators_of(law, operators)
        self._planned = PLANNED.get(self.operators.function)
        # What other operators make of a law's draws the native core does not know by itself.
        native = native_core.NativeLaw if operators is LawOperators else native
        self._native = None if native is None else native(self.operators)
        if law.linear and law.support is not None:
            unbounded = replace(law, name=f"{law.name}_tangent", support=None, density=None)
            self.operators.tangent = Sampler(unbounded).operators
        # The draws of a sample with its log-density, pathwise and at a constant sample; None where there is no density.
        self.with_log_prob: Sampler | None = None
        self.with_score: Sampler | None = None
        if law.density is not None and law.joint is None:
            self.with_score = Sampler(law.with_score())
            if law.density.reference_grad is not None:
                self.with_log_prob = Sampler(law.with_log_prob())

    def __call__(
        self,
        params: Sequence[Tensor],
        shape: Sequence[int],
        *,
        generator: torch.Generator | None = None,
        key: Tensor | None = None,
        differentiable: bool = False,
        attributes: Attributes | None = None,
    ) -> Any:
        """Draw one sample; arguments and errors are those of :func:`draw`.

        Returns:
            The sample; of a joint law two tensors, the sample and its log-density.
        """
        is_short = key is None and generator is None and not attributes
        if is_short:
            drawn = self.by_core(params, shape, differentiable)
            if drawn is not None:
                return drawn
        if is_short and not keys.watched():
            plan = self.operators.plans.find(params, shape)
            if plan is not None:
                native_core.begin()
                if not wants_derivative(params):
                    return plan.run(keys.borrow(plan.device, plan.blocks, None), params)
                taken = keys.reserve(plan.device, plan.blocks, None)
                if differentiable and self._planned is not None and forward_ad._current_level < 0:
                    return self._planned.apply(self.operators, plan, taken, *params)
                return self.operators.from_key(taken, params, shape, plan.dtype, differentiable)
        return draw(
            self.operators,
            params,
            shape,
            generator=generator,
            key=key,
            differentiable=differentiable,
            attributes=attributes,
        )

    def by_core(self, params: Sequence[Tensor], shape: Sequence[int], differentiable: bool) -> Any:
        """The draw from the default generator where the native core makes it, and None otherwise.

        It is the first that a call asks: what it draws passes all checks.
        """
        if self._native is None or torch.compiler.is_compiling():
            return None
        return self._native.draw(params, shape, differentiable)


def _with_attributes(params: Sequence[Tensor], attributes: Attributes | None) -> Sequence[Tensor]:
    """The parameters as attributes, where they are any: gradients pass through these."""
    return [attributes.get(i, p) for i, p in enumerate(params)] if attributes else params
