"""One draw from checked arguments: the entry of the kernels layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import keys, native_core
from .attributes import Attributes, draw
from .autograd import AffineDraw, Draw, PathwiseDraw
from .dtensor import any_dtensor
from .function import wants_derivative
from .maps.map import Map
from .noise import SIGNIFICAND_BITS
from .ops import Operators, are_plain
from .parameters import reconciled
from .planned import PLANNED
from .plans import Outputs
from .recording import record


class Sampler:
    """Draws of one map. Make one a process for each map: it defines the map's operators, of the type it is told.

    Calling it checks every argument before anything is drawn or any generator state is consumed.

    Args:
        law: how the native core knows the draws of these operators; None where it does not.
    """

    def __init__(
        self,
        map: Map,
        operators: type[Operators] = Operators,
        law: Callable[[Operators], native_core.Law] | None = None,
    ) -> None:
        self.map = map
        self.operators = operators(map)
        self._per_block = {dtype: map.noise.elements_per_block(dtype) for dtype in SIGNIFICAND_BITS}
        self._function = AffineDraw if map.linear else PathwiseDraw if map.cotangents else Draw
        self._planned = PLANNED.get(self._function)
        # What other operators make of a map's draws the native core does not know by itself.
        law = native_core.Law if operators is Operators else law
        self._law = None if law is None else law(self.operators)
        self.operators.register_autograd(self._autograd_kernel)
        if map.linear and map.support is not None:
            unbounded = replace(map, name=f"{map.name}_tangent", support=None, density=None)
            self.operators.tangent = Sampler(unbounded).operators
        # The draws of a sample with its log-density, pathwise and at a constant sample; None where there is no density.
        self.with_log_prob: Sampler | None = None
        self.with_score: Sampler | None = None
        if map.density is not None and map.joint is None:
            self.with_score = Sampler(map.with_score())
            if map.density.reference_grad is not None:
                self.with_log_prob = Sampler(map.with_log_prob())

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
        """Draw one sample.

        Args:
            params: the map's parameters, floating-point tensors that broadcast to `shape`, on one device
                (0-dim CPU tensors go with any device).
            shape: of the sample.
            generator: reserve the key from this generator instead of the device's default one.
            key: draw exactly the sample of this key, a uint64 tensor (seed, offset); excludes `generator`.
            differentiable: let gradients reach the parameters.
            attributes: of some parameters, by position, what they were expanded to and gradients may be asked of too.

        Returns:
            A contiguous tensor of `shape`, of the parameters' promoted dtype; of a joint map two, the sample and its
            log-density. DTensors where a parameter is one; see :mod:`rsample.kernels.sharded`.

        Raises:
            TypeError: a parameter, key or generator of the wrong type or a parameter that is not floating-point.
            ValueError: both `key` and `generator`, or a key of the wrong shape or dtype.
            RuntimeError: parameters, key or generator on different devices.
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
                return self.from_key(taken, params, shape, plan.dtype, differentiable)
        params, dtype = reconciled(self.map.parameters, params)
        if any_dtensor(params):
            from . import sharded

            return sharded.draw(self, params, shape, dtype, generator=generator, key=key, differentiable=differentiable)
        device = params[0].device
        generator = keys.check_source(key, generator, device)
        per_block = self._per_block[dtype]
        blocks = (math.prod(shape) + per_block - 1) // per_block
        if keys.watched():
            params = _with_attributes(params, attributes)
            source = keys.take(key, generator, device, blocks)
            if source.recorded:
                if not differentiable:
                    params = [p.detach() for p in params]
                outputs = record(self.operators.forward_op, source.key, params, shape, dtype)
                return outputs if self.map.joint else outputs[0]
            if source.transformed:
                function = self._function if differentiable else Draw
                return function.apply(self.operators, source.key, source.marker, tuple(shape), dtype, *params)
            taken = source.key
        else:
            if are_plain(params) and not wants_derivative(params):
                taken = keys.borrow(device, blocks, generator) if key is None else (key,)
                return self.operators.run_forward(taken, params, shape, dtype)
            taken = keys.reserve(device, blocks, generator) if key is None else (key,)
        if attributes and differentiable and torch.is_grad_enabled():
            if forward_ad._current_level < 0:
                return draw(self._function, self.operators, taken, shape, dtype, attributes, params)
            params = _with_attributes(params, attributes)
        return self.from_key(taken, params, shape, dtype, differentiable)

    def by_core(self, params: Sequence[Tensor], shape: Sequence[int], differentiable: bool) -> Any:
        """The draw from the default generator where the native core makes it, and None otherwise.

        It is the first that a call asks: what it draws passes all checks.
        """
        if self._law is None or torch.compiler.is_compiling():
            return None
        return self._law.draw(params, shape, differentiable)

    def from_key(
        self, key: keys.Key, params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype, differentiable: bool
    ) -> Any:
        """The draw of a key as operators take it, from checked arguments."""
        if not wants_derivative(params):
            return self.operators.forward(key, params, shape, dtype)
        if differentiable:
            return self._function.apply(self.operators, key, None, tuple(shape), dtype, *params)
        with torch._C._AutoDispatchBelowAutograd():
            return self.operators.forward(key, params, shape, dtype)

    def _autograd_kernel(self, key: list[Tensor], *args: Any) -> Outputs:
        *params, shape, dtype = args
        if wants_derivative(params):
            return self._function.apply(self.operators, tuple(key), None, tuple(shape), dtype, *params)
        return self.operators.forward(key, params, shape, dtype)


def _with_attributes(params: Sequence[Tensor], attributes: Attributes | None) -> Sequence[Tensor]:
    """The parameters as attributes, where they are any: gradients pass through these."""
    return [attributes.get(i, p) for i, p in enumerate(params)] if attributes else params
