"""The generic elementwise draw: one kernel applies any map to its noise, forward; another gives the gradients.

The kernels know nothing of a distribution: the map's device functions are compile-time arguments. A program walks a
run of tiles. In the hot loop tiles are full and the counter's second word is the same for all, which spares two of
Philox's multiplications per block. The full tiles that are left, and all tiles of a small draw, go through a loop that
carries; only the sample's last tile is masked, element by element.
"""

# Triton's front end knows no starred tuples, and names in capitals are compile-time constants, not Yoda's.
# ruff: noqa: RUF005, SIM108, SIM300
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...laws.map import Map
from ...runtime.language import tl, triton
from ...stream.layout import describe
from ...stream.noise import compute_dtype
from ...stream.window import Window
from .launch import Launched, configs, device_empty, group_size, launch_elements, slots
from .reduction import kept_dimensions, reduced_backward
from .tiles import (
    gradients,
    lane_blocks,
    lane_noise,
    lane_noise_carrying,
    load_elements,
    load_key,
    load_scalars,
    load_tile,
    noise_of_lanes,
    noise_of_tile,
    of_map,
    split_run,
)


@triton.jit
def store_tile(out_ptr, start, values, U: tl.constexpr):
    """Stores a full tile, the one U tiles after element `start`, 16 bytes per access."""
    TILE: tl.constexpr = values.shape[0]
    ptrs = tl.multiple_of(out_ptr + start + tl.arange(0, TILE), 16)
    tl.store(ptrs + U * TILE, values.to(out_ptr.dtype.element_ty))


@triton.jit
def inside(x, values, LOWER: tl.constexpr, UPPER: tl.constexpr, END: tl.constexpr, STEP: tl.constexpr):
    """Keeps a sample within its support, NaN apart: from LOWER to UPPER and END(values, STEP), where not None."""
    # Constants get the sample's dtype here: `tl.minimum` and the like would round them to float32.
    if END is not None:
        x = tl.minimum(x, END(values, STEP), propagate_nan=tl.PropagateNan.ALL)
    if LOWER is not None:
        x = tl.maximum(x, tl.full(x.shape, LOWER, x.dtype), propagate_nan=tl.PropagateNan.ALL)
    if UPPER is not None:
        x = tl.minimum(x, tl.full(x.shape, UPPER, x.dtype), propagate_nan=tl.PropagateNan.ALL)
    return x


@triton.jit
def store_grads(outs, start, grads, sums, U: tl.constexpr, OUTPUTS: tl.constexpr):
    """Stores a full tile of each gradient that goes out element by element, and returns the sums with the others."""
    added = ()
    for j in tl.static_range(len(OUTPUTS)):
        if OUTPUTS[j] == "elements":
            store_tile(outs[j], start, grads[j], U)
        if OUTPUTS[j] == "sum":
            added = added + (sums[j] + grads[j],)
        else:
            added = added + (sums[j],)
    return added


@triton.jit(
    do_not_specialize=["n", "first_program", "run", "in_memory", "k0", "k1", "offset"],
    do_not_specialize_on_alignment=[
        "out_ptr",
        "log_prob_ptr",
        "a_ptr",
        "b_ptr",
        "c_ptr",
        "d_ptr",
        "seed_ptr",
        "offset_ptr",
    ],
)
def elementwise_forward_kernel(
    out_ptr,
    log_prob_ptr,
    a_ptr,
    b_ptr,
    c_ptr,
    d_ptr,
    sizes,
    strides,
    n: tl.int64,
    first_program: tl.int64,
    run: tl.int32,
    seed_ptr,
    offset_ptr,
    in_memory: tl.int32,
    k0: tl.uint32,
    k1: tl.uint32,
    offset: tl.uint64,
    NOISE: tl.constexpr,
    SECOND: tl.constexpr,
    TRANSFORM: tl.constexpr,
    LOG_PROB: tl.constexpr,
    LOWER: tl.constexpr,
    UPPER: tl.constexpr,
    END: tl.constexpr,
    STEP: tl.constexpr,
    KINDS: tl.constexpr,
    WIDE: tl.constexpr,
    WINDOW: tl.constexpr,
    KEY: tl.constexpr,
    HARDWARE: tl.constexpr,
    LANES: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """out[i] = TRANSFORM(noise of element i, parameters of element i), and its log-density if LOG_PROB is not None."""
    DTYPE: tl.constexpr = out_ptr.dtype.element_ty
    COMPUTE: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    PER_BLOCK: tl.constexpr = 2 if DTYPE == tl.float64 else 4
    STREAMS: tl.constexpr = 2 if DTYPE.primitive_bitwidth == 16 else 1
    GROUP: tl.constexpr = PER_BLOCK * STREAMS
    TILE: tl.constexpr = LANES * GROUP

    k0, k1, offset = load_key(seed_ptr, offset_ptr, in_memory, k0, k1, offset, KEY)
    operands = load_scalars((a_ptr, b_ptr, c_ptr, d_ptr), KINDS, COMPUTE)
    start, block, hot, full, tiles = split_run(n, first_program, run, offset, TILE, UNROLL, PER_BLOCK)
    if WINDOW:
        hot = 0  # the blocks of a tile do not follow each other

    c0 = block.to(tl.uint32) + tl.arange(0, LANES).to(tl.uint32) * STREAMS
    c1 = (block >> 32).to(tl.uint32)
    at = start
    for _ in range(hot):
        for u in tl.static_range(UNROLL):
            lanes = lane_noise(c0, c1, k0, k1, NOISE, DTYPE, HARDWARE, STREAMS, u * LANES * STREAMS, SECOND)
            x = noise_of_tile(lanes, GROUP)
            values = load_tile(operands, at, sizes, strides, u, KINDS, WIDE, COMPUTE, LANES, GROUP)
            store_tile(out_ptr, at, inside(TRANSFORM(of_map(x), *values, HARDWARE), values, LOWER, UPPER, END, STEP), u)
            if LOG_PROB is not None:
                store_tile(log_prob_ptr, at, tl.broadcast_to(LOG_PROB(of_map(x), *values, HARDWARE), x[0].shape), u)
        c0 += UNROLL * LANES * STREAMS
        at += UNROLL * TILE

    for t in range(hot * UNROLL, full):
        at = start + t * TILE
        blocks = lane_blocks(
            block, t, offset, start, sizes, strides, len(KINDS), PER_BLOCK, WINDOW, WIDE, LANES, STREAMS
        )
        x = noise_of_tile(lane_noise_carrying(blocks, k0, k1, NOISE, SECOND, DTYPE, HARDWARE, STREAMS), GROUP)
        values = load_tile(operands, at, sizes, strides, 0, KINDS, WIDE, COMPUTE, LANES, GROUP)
        store_tile(out_ptr, at, inside(TRANSFORM(of_map(x), *values, HARDWARE), values, LOWER, UPPER, END, STEP), 0)
        if LOG_PROB is not None:
            store_tile(log_prob_ptr, at, tl.broadcast_to(LOG_PROB(of_map(x), *values, HARDWARE), x[0].shape), 0)

    for t in range(full, tiles):
        blocks = lane_blocks(
            block, t, offset, start, sizes, strides, len(KINDS), PER_BLOCK, WINDOW, WIDE, LANES, STREAMS
        )
        lanes = lane_noise_carrying(blocks, k0, k1, NOISE, SECOND, DTYPE, HARDWARE, STREAMS)
        lane = tl.arange(0, LANES) + t * LANES
        for k in tl.static_range(GROUP):
            element = start + lane * GROUP + k
            mask = element < n
            values = load_elements(operands, element, mask, sizes, strides, KINDS, WIDE, COMPUTE)
            x = noise_of_lanes(lanes, k, GROUP)
            y = inside(TRANSFORM(of_map(x), *values, HARDWARE), values, LOWER, UPPER, END, STEP)
            tl.store(out_ptr + element, y.to(DTYPE), mask=mask)
            if LOG_PROB is not None:
                tl.store(log_prob_ptr + element, LOG_PROB(of_map(x), *values, HARDWARE).to(DTYPE), mask=mask)


@triton.jit(
    do_not_specialize=["n", "first_program", "run", "in_memory", "k0", "k1", "offset"],
    do_not_specialize_on_alignment=[
        "a_out_ptr",
        "b_out_ptr",
        "c_out_ptr",
        "d_out_ptr",
        "grad_ptr",
        "p_ptr",
        "q_ptr",
        "r_ptr",
        "s_ptr",
        "t_ptr",
        "seed_ptr",
        "offset_ptr",
    ],
)
def elementwise_backward_kernel(
    a_out_ptr,
    b_out_ptr,
    c_out_ptr,
    d_out_ptr,
    grad_ptr,
    p_ptr,
    q_ptr,
    r_ptr,
    s_ptr,
    t_ptr,
    sizes,
    strides,
    n: tl.int64,
    first_program: tl.int64,
    run: tl.int32,
    seed_ptr,
    offset_ptr,
    in_memory: tl.int32,
    k0: tl.uint32,
    k1: tl.uint32,
    offset: tl.uint64,
    NOISE: tl.constexpr,
    SECOND: tl.constexpr,
    TRANSFORM_GRAD: tl.constexpr,
    LOG_PROB_GRAD: tl.constexpr,
    AFFINE: tl.constexpr,
    OUTPUTS: tl.constexpr,
    KINDS: tl.constexpr,
    WIDE: tl.constexpr,
    WINDOW: tl.constexpr,
    KEY: tl.constexpr,
    HARDWARE: tl.constexpr,
    LANES: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """Gradients of the parameters, in the sample's order or summed over all of it.

    For each parameter OUTPUTS says what is stored: "elements", one gradient per element; "sum", one partial sum per
    program, in the compute dtype; "none". The operands, from `grad_ptr` on, are what :func:`gradients` takes.
    """
    DTYPE: tl.constexpr = grad_ptr.dtype.element_ty
    COMPUTE: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    PER_BLOCK: tl.constexpr = 2 if DTYPE == tl.float64 else 4
    STREAMS: tl.constexpr = 2 if DTYPE.primitive_bitwidth == 16 else 1
    GROUP: tl.constexpr = PER_BLOCK * STREAMS
    TILE: tl.constexpr = LANES * GROUP

    k0, k1, offset = load_key(seed_ptr, offset_ptr, in_memory, k0, k1, offset, KEY)
    outs = (a_out_ptr, b_out_ptr, c_out_ptr, d_out_ptr)
    operands = load_scalars((grad_ptr, p_ptr, q_ptr, r_ptr, s_ptr, t_ptr), KINDS, COMPUTE)
    start, block, hot, full, tiles = split_run(n, first_program, run, offset, TILE, UNROLL, PER_BLOCK)
    if WINDOW:
        hot = 0  # the blocks of a tile do not follow each other

    sums = ()
    for _ in tl.static_range(len(OUTPUTS)):
        sums = sums + (tl.zeros((TILE,), COMPUTE),)
    c0 = block.to(tl.uint32) + tl.arange(0, LANES).to(tl.uint32) * STREAMS
    c1 = (block >> 32).to(tl.uint32)
    at = start
    for _ in range(hot):
        for u in tl.static_range(UNROLL):
            lanes = lane_noise(c0, c1, k0, k1, NOISE, DTYPE, HARDWARE, STREAMS, u * LANES * STREAMS, SECOND)
            x = noise_of_tile(lanes, GROUP)
            values = load_tile(operands, at, sizes, strides, u, KINDS, WIDE, COMPUTE, LANES, GROUP)
            grads = gradients(x, values, TRANSFORM_GRAD, LOG_PROB_GRAD, AFFINE, HARDWARE)
            sums = store_grads(outs, at, grads, sums, u, OUTPUTS)
        c0 += UNROLL * LANES * STREAMS
        at += UNROLL * TILE

    for t in range(hot * UNROLL, full):
        at = start + t * TILE
        blocks = lane_blocks(
            block, t, offset, start, sizes, strides, len(KINDS), PER_BLOCK, WINDOW, WIDE, LANES, STREAMS
        )
        x = noise_of_tile(lane_noise_carrying(blocks, k0, k1, NOISE, SECOND, DTYPE, HARDWARE, STREAMS), GROUP)
        values = load_tile(operands, at, sizes, strides, 0, KINDS, WIDE, COMPUTE, LANES, GROUP)
        grads = gradients(x, values, TRANSFORM_GRAD, LOG_PROB_GRAD, AFFINE, HARDWARE)
        sums = store_grads(outs, at, grads, sums, 0, OUTPUTS)

    rests = ()
    for _ in tl.static_range(len(OUTPUTS)):
        rests = rests + (tl.zeros((LANES,), COMPUTE),)
    for t in range(full, tiles):
        blocks = lane_blocks(
            block, t, offset, start, sizes, strides, len(KINDS), PER_BLOCK, WINDOW, WIDE, LANES, STREAMS
        )
        lanes = lane_noise_carrying(blocks, k0, k1, NOISE, SECOND, DTYPE, HARDWARE, STREAMS)
        lane = tl.arange(0, LANES) + t * LANES
        for k in tl.static_range(GROUP):
            element = start + lane * GROUP + k
            mask = element < n
            values = load_elements(operands, element, mask, sizes, strides, KINDS, WIDE, COMPUTE)
            grads = gradients(noise_of_lanes(lanes, k, GROUP), values, TRANSFORM_GRAD, LOG_PROB_GRAD, AFFINE, HARDWARE)
            added = ()
            for j in tl.static_range(len(OUTPUTS)):
                if OUTPUTS[j] == "elements":
                    tl.store(outs[j] + element, grads[j].to(outs[j].dtype.element_ty), mask=mask)
                if OUTPUTS[j] == "sum":
                    added = added + (rests[j] + tl.where(mask, grads[j], 0.0),)
                else:
                    added = added + (rests[j],)
            rests = added

    for j in tl.static_range(len(OUTPUTS)):
        if OUTPUTS[j] == "sum":
            tl.store(outs[j] + tl.program_id(0), tl.sum(sums[j]) + tl.sum(rests[j]))


def forward(
    map: Map,
    key: Sequence[Tensor],
    params: Sequence[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    window: Window | None = None,
) -> tuple[Tensor, ...]:
    """The outputs of one draw: the sample and, of a joint map, its log-density.

    Args:
        map: what to draw.
        key: one uint64 tensor (seed, offset), on the CPU or on the sample's device; or the three tensors of
            `torch.Generator.philox_state`.
        params: floating-point tensors that broadcast to `shape`, on one device; any strides.
        shape: of the sample.
        dtype: float dtype of the sample. float64 computes in float64, all others in float32.
        window: that of the draw, if it is part of a larger sample.

    Returns:
        Contiguous tensors.
    """
    return launched(map, key, params, shape, dtype, window)[0]


def launched(
    map: Map,
    key: Sequence[Tensor],
    params: Sequence[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    window: Window | None = None,
) -> tuple[tuple[Tensor, ...], Launched | None]:
    """`forward`, and what repeats it; see :func:`engines.triton.launch.launch_elements`."""
    outs = tuple(device_empty(shape, dtype, params[0].device) for _ in range(map.outputs))
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
        {**map.device_constants(), **bound_constants(map, dtype)},
        device=out.device,
        tune=True,
    )
    return outs, repeated


def bound_constants(map: Map, dtype: torch.dtype) -> dict[str, Any]:
    """The bounds of a map's support as compile-time arguments."""
    if map.support is None:
        return {"LOWER": None, "UPPER": None, "END": None, "STEP": 0.0}
    lower, upper = (limit if math.isfinite(limit) else None for limit in map.support.limits(dtype))
    end = map.support.end.device if map.support.end is not None and map.support.ends(dtype) else None
    return {"LOWER": lower, "UPPER": upper, "END": end, "STEP": map.support.step(dtype)}


def backward(
    map: Map,
    key: Sequence[Tensor],
    given: Sequence[Tensor],
    params: Sequence[Tensor],
    needs: Sequence[bool],
    window: Window | None = None,
) -> list[Tensor]:
    """Gradients of the parameters marked in `needs`, in order, each of its parameter's shape and dtype.

    Sums over broadcast dimensions run in a fixed order: the same arguments give the same bits.

    Args:
        map: what was drawn; it must have a gradient.
        key: as in :func:`forward`; the same key.
        given: gradients of the outputs that `map.cotangents` names, of the sample's shape and dtype; any strides, 0
            included.
        params, window: as in :func:`forward`.
    """
    return launched_backward(map, key, given, params, needs, window)[0]


def launched_backward(
    map: Map,
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
    # An affine map's gradient does not depend on the parameters.
    operands = tuple(given) if map.linear else (*given, *params)
    linear = [j for j in wanted if params[j].numel() in (1, grad.numel())]
    if linear:
        grads, outputs, repeated = _linear_backward(map, key, operands, params, linear, window)
    patterns: dict[tuple[bool, ...], list[int]] = {}
    for j in wanted:
        if j not in linear:
            patterns.setdefault(kept_dimensions(grad.shape, params[j].shape), []).append(j)
    for kept, members in patterns.items():
        grads.update(reduced_backward(map, key, operands, params, kept, members, window))
    return [grads[j] for j in wanted], outputs, None if patterns else repeated


# What becomes of a parameter's gradient, by number: nothing, one number per element, partial sums.
STORED = ("none", "elements", "sum")


def _linear_backward(
    map: Map,
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
        {**map.device_grad_constants(), "OUTPUTS": tuple(outputs)},
        device=grad.device,
        # A sum's rounding depends on the split, so that it must not depend on a timing.
        tune="sum" not in outputs,
    )
    for j in wanted:
        if outputs[j] == "sum":
            outs[j] = outs[j].sum().to(params[j].dtype).reshape(params[j].shape)
    return outs, tuple(STORED.index(output) for output in outputs), repeated
