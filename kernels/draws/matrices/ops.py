"""The operators of draws that are a matrix product, over three backends.

    rsample::multivariate_normal(Tensor[] key, Tensor loc, Tensor scale_tril, SymInt[] shape, ScalarType dtype)
        -> Tensor
    rsample::multivariate_normal_with_norm(the same) -> (Tensor, Tensor)
    rsample::low_rank_multivariate_normal(Tensor[] key, Tensor loc, Tensor cov_factor, Tensor scale, SymInt[] shape,
        ScalarType dtype) -> Tensor

and `<name>_backward(Tensor[] key, Tensor grad, Tensor <parameter>..., bool[] needs) -> Tensor[]`, which reads the
parameters' shapes and dtypes only. :class:`engines.matrix_product.MatrixProduct` says what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ...engines.cpu import product as compiled
from ...engines.eager import product as reference
from ...engines.matrix_product import KINDS, MatrixProduct
from ...engines.outputs import Outputs
from ...runtime.backend import backend_for
from ...runtime.dtensor import any_dtensor
from ...runtime.language import HAS_TRITON
from ...stream.philox_key import packed_key
from ..autograd import AffineDraw
from ..operators import Operators, define, fake_backward, fresh

if HAS_TRITON:
    from ...engines.triton import product


class ProductOperators(Operators):
    """Draws of one kind. The squared norm of the noise, where a draw gives it, does not depend on the parameters."""

    function = AffineDraw

    def __init__(self, kind: MatrixProduct) -> None:
        self.kind = kind
        self.name, self.parameters, self.events = kind.name, kind.parameters, kind.events
        self.outputs = 1 + kind.norm
        self.tangent = self
        parameters = ", ".join(f"Tensor {name}" for name in kind.parameters)
        result = "(Tensor, Tensor)" if kind.norm else "Tensor"
        self.forward_op = define(
            f"{kind.name}(Tensor[] key, {parameters}, SymInt[] shape, ScalarType dtype) -> {result}",
            lambda key, *args: self.run_forward(key, args[:-2], *args[-2:]),
            self._fake,
            lambda key, *args: self.recorded(key, args[:-2], *args[-2:]),
        )
        self.backward_op = define(
            f"{kind.name}_backward(Tensor[] key, Tensor grad, {parameters}, bool[] needs) -> Tensor[]",
            lambda key, grad, *args: fresh(self.run_backward(key, (grad,), args[:-1], args[-1]), (grad, *args[:-1])),
            lambda key, grad, *args: fake_backward(*args),
        )

    def blocks(self, params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype) -> int:
        # Streams other than the draw's own count from the same block.
        per_row = max(shape[-1], params[1].shape[-1])
        return -(-math.prod(shape[:-1]) * per_row // self.per_block(dtype))

    def parts(self, params: Sequence[Tensor], shape: Sequence[int]) -> str:
        raise NotImplementedError(
            "draws that are a matrix product do not take DTensor parameters; draw with the full_tensor() of "
            f"{' and '.join(name for name, p in zip(self.parameters, params, strict=True) if any_dtensor((p,)))}"
        )

    def run_forward(
        self, key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype
    ) -> Outputs:
        kind = self.kind
        backend = backend_for(params[0].device, math.prod(shape), params)
        if backend == "triton":
            outputs = product.forward(kind, key, params, shape, dtype)
        else:
            with _without_autocast(params[0].device):
                if backend == "compiled":
                    outputs = compiled.forward(kind, packed_key(key), params, shape, dtype)
                else:
                    outputs = reference.forward(kind, backend, packed_key(key), params, shape, dtype)
        return outputs if kind.norm else outputs[0]

    def run_backward(
        self, key: Sequence[Tensor], given: Sequence[Tensor], params: Sequence[Tensor], needs: Sequence[bool]
    ) -> list[Tensor]:
        (grad,) = given
        backend = backend_for(grad.device, grad.numel(), (grad,))
        if backend == "triton":
            return product.backward(self.kind, key, grad, params, needs)
        with _without_autocast(grad.device):
            if backend == "compiled":
                return compiled.backward(self.kind, packed_key(key), grad, params, needs)
            return reference.backward(self.kind, backend, packed_key(key), grad, params, needs)

    def _fake(self, key: list[Tensor], *args: Any) -> Outputs:
        *params, shape, dtype = args
        sample = params[0].new_empty(shape, dtype=dtype)
        return (sample, params[0].new_empty(shape[:-1], dtype=dtype)) if self.kind.norm else sample


def _without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """A product is of the draw's compute dtype, as in the kernels."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


OPERATORS = {kind: ProductOperators(kind) for kind in KINDS}
