"""The torch.library operators of draws that are a matrix product, over three backends.

    rsample::multivariate_normal(Tensor[] key, Tensor loc, Tensor scale_tril, SymInt[] shape, ScalarType dtype)
        -> Tensor
    rsample::multivariate_normal_with_norm(the same) -> (Tensor, Tensor)
    rsample::low_rank_multivariate_normal(Tensor[] key, Tensor loc, Tensor cov_factor, Tensor scale, SymInt[] shape,
        ScalarType dtype) -> Tensor

and `<name>_backward(Tensor[] key, Tensor grad, Tensor <parameter>..., bool[] needs) -> Tensor[]`, which reads the
parameters' shapes and dtypes only. `key` is a packed key (one tensor) or a generator's reservation (three); see
:mod:`rsample.kernels.keys`. :class:`rsample.kernels.matrices.kind.Kind` says what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ..backend import backend_for
from ..keys import packed_key
from ..language import HAS_TRITON
from ..ops import fresh, is_plain
from . import compiled, reference
from .kind import KINDS, Kind

if HAS_TRITON:
    from . import product

_LIBRARY = torch.library.Library("rsample", "FRAGMENT")


def forward(
    kind: Kind, key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """The forward operator below autograd: no graph is built."""
    if is_plain(params):
        return _run_forward(kind, key, params, shape, dtype)
    with torch._C._AutoDispatchBelowAutograd():
        output = operator(kind)(list(key), *params, shape, dtype)
    return tuple(output) if kind.norm else (output,)


def backward(
    kind: Kind, key: Sequence[Tensor], grad: Tensor, like: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor]:
    """The backward operator below autograd."""
    if is_plain((grad,)):
        return _run_backward(kind, key, grad, like, needs)
    with torch._C._AutoDispatchBelowAutograd():
        grads: list[Tensor] = getattr(torch.ops.rsample, f"{kind.name}_backward").default(list(key), grad, *like, needs)
    return grads


def operator(kind: Kind) -> Any:
    """`rsample::<name>`."""
    return getattr(torch.ops.rsample, kind.name).default


def register_autograd(kind: Kind, kernel: Callable[..., Any]) -> None:
    """Make `kernel` what the forward operator does where a gradient may be asked for."""
    _LIBRARY.impl(kind.name, kernel, "Autograd")


def _run_forward(
    kind: Kind, key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype
) -> tuple[Tensor, ...]:
    backend = backend_for(params[0].device, math.prod(shape), params)
    if backend == "triton":
        return product.forward(kind, key, params, shape, dtype)
    with _without_autocast(params[0].device):
        if backend == "compiled":
            return compiled.forward(kind, packed_key(key), params, shape, dtype)
        return reference.forward(kind, backend, packed_key(key), params, shape, dtype)


def _run_backward(
    kind: Kind, key: Sequence[Tensor], grad: Tensor, like: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor]:
    backend = backend_for(grad.device, grad.numel(), (grad,))
    if backend == "triton":
        return product.backward(kind, key, grad, like, needs)
    with _without_autocast(grad.device):
        if backend == "compiled":
            return compiled.backward(kind, packed_key(key), grad, like, needs)
        return reference.backward(kind, backend, packed_key(key), grad, like, needs)


def _without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """A product is of the draw's compute dtype, as in the kernels."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def _define(kind: Kind) -> None:
    parameters = ", ".join(f"Tensor {name}" for name in kind.parameters)

    def run(key: list[Tensor], *args: Any) -> Any:
        outputs = _run_forward(kind, key, args[:-2], *args[-2:])
        return outputs if kind.norm else outputs[0]

    def fake(key: list[Tensor], *args: Any) -> Any:
        *params, shape, dtype = args
        sample = params[0].new_empty(shape, dtype=dtype)
        return (sample, params[0].new_empty(shape[:-1], dtype=dtype)) if kind.norm else sample

    def run_backward(key: list[Tensor], grad: Tensor, *args: Any) -> list[Tensor]:
        return fresh(_run_backward(kind, key, grad, args[:-1], args[-1]), (grad, *args[:-1]))

    def fake_backward(key: list[Tensor], grad: Tensor, *args: Any) -> list[Tensor]:
        *like, needs = args
        return [p.new_empty(p.shape) for p, needed in zip(like, needs, strict=True) if needed]

    result = "(Tensor, Tensor)" if kind.norm else "Tensor"
    schemas = {
        f"{kind.name}(Tensor[] key, {parameters}, SymInt[] shape, ScalarType dtype) -> {result}": (run, fake),
        f"{kind.name}_backward(Tensor[] key, Tensor grad, {parameters}, bool[] needs) -> Tensor[]": (
            run_backward,
            fake_backward,
        ),
    }
    for schema, (kernel, fake_kernel) in schemas.items():
        name = schema.partition("(")[0]
        _LIBRARY.define(schema)
        _LIBRARY.impl(name, kernel, "CompositeExplicitAutograd")
        torch.library.register_fake(f"rsample::{name}", fake_kernel, lib=_LIBRARY)


for _kind in KINDS:
    _define(_kind)
