"""torch.library operators made from a Map: one forward, one backward, over three backends.

    rsample::<name>(Tensor[] key, Tensor <parameter>..., SymInt[] shape, ScalarType dtype) -> Tensor
    rsample::<name>_backward(Tensor[] key, Tensor grad, Tensor <parameter>..., bool[] needs) -> Tensor[]

A joint map's forward operator returns (Tensor, Tensor), the sample and its log-density, and its backward operator takes
the gradients of both (`with_log_prob`) or of the log-density (`with_score`).
`key` is a packed key (one tensor) or a generator's reservation (three); see :mod:`rsample.kernels.keys`; and, for part
of a sample, one tensor more; see :mod:`rsample.kernels.window`. Operators are opaque to torch.compile: a compiled model
runs the same kernels as an eager one and draws the same numbers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from . import compiled, reference
from .backend import CPU, backend_for
from .keys import calls_are_seen, packed_key
from .language import HAS_TRITON
from .loops.noise import LoopNoise
from .maps.map import Map
from .plans import Outputs, Planner, Plans, Run, TritonDraw
from .window import split_key

if HAS_TRITON:
    from . import elementwise
    from .loops import kernel as loop_kernels

_LIBRARY = torch.library.Library("rsample", "FRAGMENT")


class Operators:
    """The operators of one map, defined and registered on construction: once a process for each map.

    Attributes:
        forward_op: `rsample::<name>`.
        backward_op: `rsample::<name>_backward`, or None where there is no pathwise gradient.
        run_forward: what the forward operator runs; called with what :func:`is_plain`, it saves the dispatcher's cost.
        plans: the same by kind of draw.
        tangent: the operators of a linear map without the bounds of its support, which do not apply to tangents.
    """

    def __init__(self, map: Map) -> None:
        self.map = map
        self.plans = Plans(planner(map), map.noise.elements_per_block)
        self.run_forward = draw_engine(map, self.plans)
        self._run_backward = gradient_engine(map)
        parameters = ", ".join(f"Tensor {name}" for name in map.parameters)
        result = ("Tensor", "(Tensor, Tensor)")[map.outputs - 1]
        self.forward_op = _define(
            f"{map.name}(Tensor[] key, {parameters}, SymInt[] shape, ScalarType dtype) -> {result}",
            lambda key, *args: self.run_forward(key, args[:-2], *args[-2:]),
            lambda key, *args: _fake_forward(map, *args),
        )
        self.backward_op: Any = None
        number = len(map.cotangents)
        if number:
            gradients = ", ".join(f"Tensor {('grad', 'grad_log_prob')[i]}" for i in map.cotangents)
            self.backward_op = _define(
                f"{map.name}_backward(Tensor[] key, {gradients}, {parameters}, bool[] needs) -> Tensor[]",
                lambda key, *args: fresh(self._run_backward(key, args[:number], args[number:-1], args[-1]), args[:-1]),
                lambda key, *args: _fake_backward(*args[number:]),
            )

        self.tangent = self

    def register_autograd(self, kernel: Callable[..., Outputs]) -> None:
        """Make `kernel` what the forward operator does where a gradient may be asked for."""
        _LIBRARY.impl(self.map.name, kernel, "Autograd")

    def forward(
        self, key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype
    ) -> Outputs:
        """The forward operator below autograd; nothing in it builds a graph as long as no parameter requires grad."""
        if is_plain(params):
            return self.run_forward(key, params, shape, dtype)
        with torch._C._AutoDispatchBelowAutograd():
            return self.forward_op(list(key), *params, shape, dtype)

    def backward(
        self, key: Sequence[Tensor], given: Sequence[Tensor], params: Sequence[Tensor], needs: Sequence[bool]
    ) -> list[Tensor]:
        """The backward operator below autograd; `given` are gradients of the outputs that `map.cotangents` names."""
        if is_plain((*given, *params)):
            return self._run_backward(key, given, params, needs)
        with torch._C._AutoDispatchBelowAutograd():
            return self.backward_op(list(key), *given, *params, needs)


def _define(schema: str, kernel: Callable[..., Any], fake: Callable[..., Any]) -> Any:
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"rsample::{name}", fake, lib=_LIBRARY)
    return getattr(torch.ops.rsample, name).default


def is_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether nothing but the kernel itself would see the operator's call: the dispatcher's 6 us can then be saved."""
    return are_plain(tensors) and not calls_are_seen()


def are_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether a kernel can read these, as far as they themselves say: :func:`is_plain` where nobody is watching."""
    for t in tensors:
        if (type(t) is not Tensor and type(t) is not Parameter) or t.is_neg():  # negation is lazy, of .conj().imag
            return False
    return not tensors[0].is_meta


def fresh(results: Sequence[Tensor], given: Sequence[Tensor]) -> list[Tensor]:
    """Results as an operator's schema and fake kernel have them: contiguous, in memory that no argument has."""
    return [
        r.clone(memory_format=torch.contiguous_format)
        if not r.is_contiguous() or any(torch._C._is_alias_of(r, t) for t in given)  # type: ignore[attr-defined]
        else r
        for r in results
    ]


def kernels_of(map: Map) -> ModuleType:
    return loop_kernels if isinstance(map.noise, LoopNoise) else elementwise


def draw_engine(map: Map, plans: Plans) -> Callable[..., Outputs]:
    """What a map's forward operator runs: on the backend for the device and size."""

    def forward(key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype) -> Outputs:
        plan = plans.find(params, shape) if len(key) != 2 and dtype == params[0].dtype else None
        if plan is not None:
            return plan.run(key, params)
        key, numel, window = split_key(key, math.prod(shape))
        backend = backend_for(params[0].device, numel, params)
        if backend == "triton":
            outputs = kernels_of(map).forward(map, key, params, shape, dtype, window)
        elif backend == "compiled":
            outputs = compiled.forward(map, packed_key(key), params, shape, dtype, window)
        else:
            outputs = reference.forward(map, packed_key(key), params, shape, dtype, window)
        return outputs if map.joint else outputs[0]

    return forward


def planner(map: Map) -> Planner:
    """What plans a map's draws; they give what `draw_engine` does."""

    def plan(params: Sequence[Tensor], shape: torch.Size, dtype: torch.dtype) -> Run | None:
        device, numel = params[0].device, shape.numel()
        if numel == 0:
            return None
        backend = backend_for(device, numel, params)
        if backend == "compiled":
            return compiled.plan(map, params, shape, dtype)
        if backend == "reference":
            run = functools.partial(_eager, map, shape, dtype)
            return run if device == CPU else None
        kernels = kernels_of(map)
        return TritonDraw(functools.partial(kernels.launched, map), map.joint is not None, shape, dtype, device)

    return plan


def _eager(map: Map, shape: torch.Size, dtype: torch.dtype, key: Sequence[Tensor], params: Sequence[Tensor]) -> Outputs:
    outputs = reference.forward(map, key[0], params, shape, dtype)
    return outputs if map.joint else outputs[0]


def gradient_engine(map: Map) -> Callable[..., list[Tensor]]:
    """What its backward operator runs."""

    def backward(
        key: Sequence[Tensor], given: Sequence[Tensor], params: Sequence[Tensor], needs: Sequence[bool]
    ) -> list[Tensor]:
        key, numel, window = split_key(key, given[0].numel())
        backend = backend_for(given[0].device, numel, (*given, *params))
        if backend == "triton":
            return kernels_of(map).backward(map, key, given, params, needs, window)
        if backend == "compiled":
            return compiled.backward(map, packed_key(key), given, params, needs, window)
        return reference.backward(map, packed_key(key), given, params, needs, window)

    return backward


def _fake_forward(map: Map, *args: Any) -> Outputs:
    *params, shape, dtype = args
    outputs = tuple(params[0].new_empty(shape, dtype=dtype) for _ in range(map.outputs))
    return outputs if map.joint else outputs[0]


def _fake_backward(*args: Any) -> list[Tensor]:
    *params, needs = args
    return [p.new_empty(p.shape) for p, needed in zip(params, needs, strict=True) if needed]
