"""The operators of a Law's draws, over three backends.

    rsample::<name>(Tensor[] key, Tensor <parameter>..., SymInt[] shape, ScalarType dtype) -> Tensor
    rsample::<name>_backward(Tensor[] key, Tensor grad, Tensor <parameter>..., bool[] needs) -> Tensor[]

Both have an option `version`, which is for compilers; see :mod:`draws.compiling`.
A joint law's forward operator returns (Tensor, Tensor), the sample and its log-density, and its backward operator takes
the gradients of both (`with_log_prob`) or of the log-density (`with_score`).
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..engines.cpu import elementwise as compiled
from ..engines.eager import elementwise as reference
from ..engines.outputs import Outputs, Run
from ..laws.law import Law
from ..laws.rejection.noise import LoopNoise
from ..runtime.backend import CPU, backend_for
from ..runtime.language import HAS_TRITON
from ..stream.noise import SIGNIFICAND_BITS
from ..stream.philox_key import Key
from ..stream.window import split_key
from .compiling import announce, version
from .operators import Operators, define, fake_backward, fresh
from .plans import Planner, Plans, TritonDraw

if HAS_TRITON:
    from ..engines.triton import elementwise, loop_kernels


class LawOperators(Operators):
    """Draws of one law. Defined and registered on construction, once per process and law.

    Attributes:
        plans: what runs draws, by their kind.
        tangent: of a linear law: without the bounds of its support, which do not apply to tangents.
        fusable: whether compilers may make code of them that does the same.
        is_lowered: whether Inductor knows how.
        is_current: whether what they record is marked with the version of the sources.
    """

    def __init__(self, law: Law) -> None:
        self.law = law
        self.name, self.parameters, self.outputs = law.name, law.parameters, law.outputs
        self.events = (1,) * len(law.parameters)
        self._per_block = {dtype: law.noise.elements_per_block(dtype) for dtype in SIGNIFICAND_BITS}
        self.whole_rows = law.tangent is not None
        self.location = None if law.location is None else law.parameters.index(law.location)
        self.plans = Plans(planner(law), law.noise.elements_per_block)
        self.run_forward = draw_engine(law, self.plans)  # type: ignore[method-assign]
        self.run_backward = gradient_engine(law)  # type: ignore[method-assign]
        parameters = ", ".join(f"Tensor {name}" for name in law.parameters)
        result = ("Tensor", "(Tensor, Tensor)")[law.outputs - 1]
        option = "*, str? version=None"
        self.forward_op = define(
            f"{law.name}(Tensor[] key, {parameters}, SymInt[] shape, ScalarType dtype, {option}) -> {result}",
            lambda key, *args, version=None: self.run_forward(key, args[:-2], *args[-2:]),
            lambda key, *args, version=None: _fake_forward(law, *args),
            lambda key, *args, version=None: self._as_of(version).recorded(key, args[:-2], *args[-2:]),
        )
        number = len(law.cotangents)
        if number:
            gradients = ", ".join(f"Tensor {('grad', 'grad_log_prob')[i]}" for i in law.cotangents)
            self.backward_op = define(
                f"{law.name}_backward(Tensor[] key, {gradients}, {parameters}, bool[] needs, {option}) -> Tensor[]",
                lambda key, *args, version=None: fresh(
                    self.run_backward(key, args[:number], args[number:-1], args[-1]), args[:-1]
                ),
                lambda key, *args, version=None: fake_backward(*args[number:]),
            )
        self.tangent = self
        # Operators of other kinds than this one draw in other ways.
        self.fusable = type(self) is LawOperators and not isinstance(law.noise, LoopNoise) and law.tangent is None
        self.is_lowered, self.is_current = False, True
        announce(self)

    @property
    def marks(self) -> dict[str, Any]:
        return {"version": version()} if self.is_current else {}

    def _as_of(self, recorded: str | None) -> LawOperators:
        """The operators for a call that was recorded with a version: only with this one are they fused, both ways."""
        if recorded is not None and recorded == version():
            return self
        other = copy.copy(self)
        other.is_current = False
        return other

    def parts(self, params: Sequence[Tensor], shape: Sequence[int]) -> str:
        return "elements"

    def per_block(self, dtype: torch.dtype) -> int:
        return self._per_block[dtype]

    def group(self, dtype: torch.dtype) -> int:
        return 1 if isinstance(self.law.noise, LoopNoise) else super().group(dtype)


def kernels_of(law: Law) -> ModuleType:
    return loop_kernels if isinstance(law.noise, LoopNoise) else elementwise


def draw_engine(law: Law, plans: Plans) -> Callable[..., Outputs]:
    """What a law's forward operator runs: on the backend for the device and size."""

    def forward(key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype) -> Outputs:
        plan = plans.find(params, shape) if Key(key).box is None and dtype == params[0].dtype else None
        if plan is not None:
            return plan.run(key, params)
        key, numel, window = split_key(key, math.prod(shape))
        backend = backend_for(params[0].device, numel, params)
        if backend == "triton":
            outputs = kernels_of(law).forward(law, key, params, shape, dtype, window)
        elif backend == "compiled":
            outputs = compiled.forward(law, key.packed(), params, shape, dtype, window)
        else:
            outputs = reference.forward(law, key.packed(), params, shape, dtype, window)
        return outputs if law.joint else outputs[0]

    return forward


def planner(law: Law) -> Planner:
    """What plans a law's draws; they give what `draw_engine` does."""

    def plan(params: Sequence[Tensor], shape: torch.Size, dtype: torch.dtype) -> Run | None:
        device, numel = params[0].device, shape.numel()
        if numel == 0:
            return None
        backend = backend_for(device, numel, params)
        if backend == "compiled":
            return compiled.plan(law, params, shape, dtype)
        if backend == "reference":
            run = functools.partial(_eager, law, shape, dtype)
            return run if device == CPU else None
        kernels = kernels_of(law)
        return TritonDraw(functools.partial(kernels.launched, law), law.joint is not None, shape, dtype, device)

    return plan


def _eager(law: Law, shape: torch.Size, dtype: torch.dtype, key: Sequence[Tensor], params: Sequence[Tensor]) -> Outputs:
    outputs = reference.forward(law, key[0], params, shape, dtype)
    return outputs if law.joint else outputs[0]


def gradient_engine(law: Law) -> Callable[..., list[Tensor]]:
    """What its backward operator runs."""

    def backward(
        key: Sequence[Tensor], given: Sequence[Tensor], params: Sequence[Tensor], needs: Sequence[bool]
    ) -> list[Tensor]:
        key, numel, window = split_key(key, given[0].numel())
        backend = backend_for(given[0].device, numel, (*given, *params))
        if backend == "triton":
            return kernels_of(law).backward(law, key, given, params, needs, window)
        if backend == "compiled":
            return compiled.backward(law, key.packed(), given, params, needs, window)
        return reference.backward(law, key.packed(), given, params, needs, window)

    return backward


def _fake_forward(law: Law, *args: Any) -> Outputs:
    *params, shape, dtype = args
    outputs = tuple(params[0].new_empty(shape, dtype=dtype) for _ in range(law.outputs))
    return outputs if law.joint else outputs[0]
