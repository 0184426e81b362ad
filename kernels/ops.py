"""torch.library operators made from a Map: one forward, one backward, over three backends.

    rsample::<name>(Tensor[] key, Tensor <parameter>..., SymInt[] shape, ScalarType dtype) -> Tensor
    rsample::<name>_backward(Tensor[] key, Tensor grad, Tensor <parameter>..., bool[] needs) -> Tensor[]

`key` is a packed key (one tensor) or a generator's reservation (three); see :mod:`rsample.kernels.keys`. Operators are
opaque to torch.compile: a compiled model runs the same kernels as an eager one and draws the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from . import compiled, reference
from .backend import backend_for
from .keys import packed_key
from .language import HAS_TRITON
from .maps.map import Map

if HAS_TRITON:
    from . import elementwise

_LIBRARY = torch.library.Library("rsample", "FRAGMENT")


class Operators:
    """The operators of one map, defined and registered on construction: once a process for each map.

    Attributes:
        forward_op: `rsample::<name>`.
        backward_op: `rsample::<name>_backward`, or None where there is no pathwise gradient.
    """

    def __init__(self, map: Map) -> None:
        self.map = map
        self._run_forward = _forward(map)
        self._run_backward = _backward(map)
        parameters = ", ".join(f"Tensor {name}" for name in map.parameters)
        self.forward_op = _define(
            f"{map.name}(Tensor[] key, {parameters}, SymInt[] shape, ScalarType dtype) -> Tensor",
            lambda key, *args: self._run_forward(key, args[:-2], *args[-2:]),
            _fake_forward,
        )
        self.backward_op: Any = None
        if map.reference_grad is not None:
            self.backward_op = _define(
                f"{map.name}_backward(Tensor[] key, Tensor grad, {parameters}, bool[] needs) -> Tensor[]",
                lambda key, grad, *args: self._run_backward(key, grad, args[:-1], args[-1]),
                _fake_backward,
            )

    def register_autograd(self, kernel: Callable[..., Tensor]) -> None:
        """Make `kernel` what the forward operator does where a gradient may be asked for."""
        _LIBRARY.impl(self.map.name, kernel, "Autograd")

    def forward(
        self, key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype
    ) -> Tensor:
        """The forward operator below autograd; nothing in it builds a graph as long as no parameter requires grad."""
        if _is_plain(params):
            return self._run_forward(key, params, shape, dtype)
        with torch._C._AutoDispatchBelowAutograd():
            return self.forward_op(list(key), *params, shape, dtype)

    def backward(
        self, key: Sequence[Tensor], grad: Tensor, params: Sequence[Tensor], needs: Sequence[bool]
    ) -> list[Tensor]:
        """The backward operator below autograd."""
        if _is_plain((grad, *params)):
            return self._run_backward(key, grad, params, needs)
        with torch._C._AutoDispatchBelowAutograd():
            return self.backward_op(list(key), grad, *params, needs)


def _define(schema: str, kernel: Callable[..., Any], fake: Callable[..., Any]) -> Any:
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"rsample::{name}", fake, lib=_LIBRARY)
    return getattr(torch.ops.rsample, name).default


def _is_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether nothing but the kernel itself would see the operator's call: the dispatcher's 6 us can then be saved."""
    for t in tensors:
        if (type(t) is not Tensor and type(t) is not Parameter) or t.is_neg():  # negation is lazy, of .conj().imag
            return False
    return torch._C._len_torch_dispatch_stack() == 0


def _forward(map: Map) -> Callable[..., Tensor]:
    def forward(key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        backend = backend_for(params[0].device, math.prod(shape))
        if backend == "triton":
            return elementwise.forward(map, key, params, shape, dtype)
        if backend == "compiled":
            return compiled.forward(map, packed_key(key), params, shape, dtype)
        return reference.forward(map, packed_key(key), params, shape, dtype)

    return forward


def _backward(map: Map) -> Callable[..., list[Tensor]]:
    def backward(key: Sequence[Tensor], grad: Tensor, params: Sequence[Tensor], needs: Sequence[bool]) -> list[Tensor]:
        backend = backend_for(grad.device, grad.numel())
        if backend == "triton":
            return elementwise.backward(map, key, grad, params, needs)
        if backend == "compiled":
            return compiled.backward(map, packed_key(key), grad, params, needs)
        return reference.backward(map, packed_key(key), grad, params, needs)

    return backward


def _fake_forward(key: Sequence[Tensor], *args: Any) -> Tensor:
    *params, shape, dtype = args
    return params[0].new_empty(shape, dtype=dtype)


def _fake_backward(key: Sequence[Tensor], grad: Tensor, *args: Any) -> list[Tensor]:
    *params, needs = args
    return [p.new_empty(p.shape) for p, needed in zip(params, needs, strict=True) if needed]
