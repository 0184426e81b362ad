"""Draws that are recorded, by torch.compile or by torch.jit.trace, as one call of their operator.

torch.jit.trace hands an operator the sizes of its example, as constants. It follows sizes only as far as they are those
of a tensor, so that it records the call of an operator that takes the shape from one:

    rsample::draw_as(str operator, Tensor[] key, Tensor[] params, Tensor like, int[] options) -> Tensor[]

`key` may be one int64 tensor, the bits of a packed key: a trace cannot look at them as uint64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..engines.outputs import Outputs, returned
from ..stream.philox_key import Key
from .operators import LIBRARY


def traced() -> bool:
    """Whether torch.jit.trace records what runs."""
    return torch._C._get_tracing_state() is not None


def record(
    operator: Any, key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], *options: Any, **marks: Any
) -> Outputs:
    """The outputs of an operator that makes draws.

    Args:
        marks: what a compiler's record says besides.
        options: its arguments behind the shape: the dtype of the sample, which may be another than that of the
            parameters, or bools.
    """
    if torch.compiler.is_compiling() or not traced():
        return returned(operator(list(key), *params, shape, *options, **marks))
    dtype = options[0] if isinstance(options[0], torch.dtype) else params[0].dtype
    like = params[0].new_empty((), dtype=dtype).expand(shape)
    name = operator._schema.name.removeprefix("rsample::")
    flags = [] if isinstance(options[0], torch.dtype) else [int(option) for option in options]
    return returned(torch.ops.rsample.draw_as(name, list(key), list(params), like, flags))


def _draw_as(
    operator: str, key: Sequence[Tensor], params: Sequence[Tensor], like: Tensor, options: Sequence[int]
) -> list[Tensor]:
    if not Key(key).is_reservation:
        key = [key[0].view(torch.uint64)]
    rest: list[Any] = [bool(option) for option in options] or [like.dtype]
    outputs = getattr(torch.ops.rsample, operator).default(key, *params, like.shape, *rest)
    return [outputs] if isinstance(outputs, Tensor) else outputs


LIBRARY.define("draw_as(str operator, Tensor[] key, Tensor[] params, Tensor like, int[] options) -> Tensor[]")
LIBRARY.impl("draw_as", _draw_as, "CompositeImplicitAutograd")
