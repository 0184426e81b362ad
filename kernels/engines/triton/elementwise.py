"""The generic elementwise draw: one kernel applies any law to its noise, forward; another gives the gradients.

The kernels know nothing of a distribution: the law's device functions are compile-time arguments. A program walks a
run of tiles. In the hot loop tiles are full and the counter's second word is the same for all, which spares two of
Philox's multiplications per block. The full tiles that are left, and all tiles of a small draw, go through a loop that
carries; only the sample's last tile is masked, element by element.
"""

# Triton's front end knows no starred tuples, and names in capitals are compile-time constants, not Yoda's.
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...formula.device_functions import device_function
from ...laws.law import Law
from ...stream.layout import describe
from ...stream.noise import compute_dtype
from ...stream.window import Window
from .elementwise_kernels import elementwise_backward_kernel, elementwise_forward_kernel
from .launch import Launched, configs, device_empty, group_size, launch_elements, slots
from .reduction import kept_dimensions, reduced_backward


def forward(
    law: Law,
    key: Sequence[Tensor],
    params: Sequence[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    window: Window | None = None,
) -> tuple[Tensor, ...]:
    """The outputs of one draw: the sample and, of a joint law, its log-density.

    Args:
        law: what to draw.
        key: one uint64 tensor (seed, offset), on the CPU or on the sample's device; or the three tensors of
            `torch.Generator.philox_state`.
        params: floating-point tensors that broadcast to `shape`, on one device; any strides.
        shape: of the sample.
        dtype: float dtype of the sample. float64 computes in float64, all others in float32.
        window: that of the draw, if it is part of a larger sample.

    Returns:
        Contiguous tensors.
    """
    return launched(law, key, params, shape, dtype, window)[0]


def launched(
    law: Law,
    key: Sequence[Tensor],
    params: Sequence[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    window: Window | None = None,
) -> tuple[tuple[Tensor, ...], Launched | None]:
    """`forward`, and what repeats it; see :func:`engines.triton.launch.launch_elements`."""
    outs = tuple(device_empty(shape, dtype, params[0].device) for _ in range(law.outputs))
    out = outs[0]
    if out.numel() == 0:
        return outs, None
    group = group_size(dtype)
    layout = describe(out.shape, params, group, None if window is None else window.strides)
    repeated = launch_elements(
        elementwise_forward_kernel,
        (*slots(outs, 2), *slots(params)),
        layout,
        out.numel(),
        group,
        key,
        {**law.device_constants(), **bound_constants(law, dtype)},
        device=out.device,
        tune=True,
    )
    return outs, repeated


def bound_constants(law: Law, dtype: torch.dtype) -> dict[str, Any]:
    """The bounds of a law's support as compile-time arguments."""
    if law.support is None:
        return {"LOWER": None, "UPPER": None, "END": None}
    end = law.definition_of_end(dtype)
    lower, upper = (limit if math.isfinite(limit) else None for limit in law.support.limits(dtype))
    return {"LOWER": lower, "UPPER": upper, "END": None if end is None else device_function(*end)}


def backward(
    law: Law,
    key: Sequence[Tensor],
    given: Sequence[Tensor],
    params: Sequence[Tensor],
    needs: Sequence[bool],
    window: Window | None = None,
) -> list[Tensor]:
    """Gradients of the parameters marked in `needs`, in order, each of its parameter's shape and dtype.

    Sums over broadcast dimensions run in a fixed order: the same arguments give the same bits.

    Args:
        law: what was drawn; it must have a gradient.
        key: as in :func:`forward`; the same key.
        given: gradients of the outputs that `law.cotangents` names, of the sample's shape and dtype; any strides, 0
            included.
        params, window: as in :func:`forward`.
    """
    return launched_backward(law, key, given, params, needs, window)[0]


def launched_backward(
    law: Law,
    key: Sequence[Tensor],
    given: Sequence[Tensor],
    params: Sequence[Tensor],
    needs: Sequence[bool],
    window: Window | None = None,
) -> tuple[list[Tensor], tuple[int, ...], Launched | None]:
    """`backward`, and what repeats it where it is one launch.

    Returns:
        The gradients; for each parameter 0, 1 where the launch stores its gradient, or 2 where it stores partial sums;
        and the launch, or None.
    """
    grad = given[0]
    wanted = [j for j, needed in enumerate(needs) if needed]
    if grad.numel() == 0:
        zeros = [torch.zeros(params[j].shape, dtype=params[j].dtype, device=grad.device) for j in wanted]
        return zeros, (), None
    grads: dict[int, Tensor] = {}
    outputs: tuple[int, ...] = ()
    repeated = None
    # An affine law's gradient does not depend on the parameters.
    operands = tuple(given) if law.linear else (*given, *params)
    linear = [j for j in wanted if params[j].numel() in (1, grad.numel())]
    if linear:
        grads, outputs, repeated = _linear_backward(law, key, operands, params, linear, window)
    patterns: dict[tuple[bool, ...], list[int]] = {}
    for j in wanted:
        if j not in linear:
            patterns.setdefault(kept_dimensions(grad.shape, params[j].shape), []).append(j)
    for kept, members in patterns.items():
        grads.update(reduced_backward(law, key, operands, params, kept, members, window))
    return [grads[j] for j in wanted], outputs, None if patterns else repeated


# What becomes of a parameter's gradient, by number: nothing, one number per element, partial sums.
STORED = ("none", "elements", "sum")


def _linear_backward(
    law: Law,
    key: Sequence[Tensor],
    operands: Sequence[Tensor],
    params: Sequence[Tensor],
    wanted: Sequence[int],
    window: Window | None,
) -> tuple[dict[int, Tensor], tuple[int, ...], Launched | None]:
    """Gradients of parameters with one value per element, or one value; the rest as `launched_backward`."""
    grad = operands[0]
    group = group_size(grad.dtype)
    n = grad.numel()
    layout = describe(grad.shape, operands, group, None if window is None else window.strides)
    outputs = ["none"] * len(params)
    outs: dict[int, Tensor] = {}
    for j in wanted:
        if params[j].numel() == n:
            outputs[j] = "elements"
            outs[j] = device_empty(params[j].shape, params[j].dtype, grad.device)
        else:
            outputs[j] = "sum"
            outs[j] = device_empty((configs(layout)[0].programs(n, group),), compute_dtype(grad.dtype), grad.device)
    repeated = launch_elements(
        elementwise_backward_kernel,
        (*slots([outs.get(j) for j in range(len(params))]), *slots(operands, 6)),
        layout,
        n,
        group,
        key,
        {**law.device_grad_constants(), "OUTPUTS": tuple(outputs)},
        device=grad.device,
        # A sum's rounding depends on the split, so that it must not depend on a timing.
        tune="sum" not in outputs,
    )
    for j in wanted:
        if outputs[j] == "sum":
            outs[j] = outs[j].sum().to(params[j].dtype).reshape(params[j].shape)
    return outs, tuple(STORED.index(output) for output in outputs), repeated
