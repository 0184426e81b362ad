"""The kernels of draws element by element, and of their gradients; see elementwise.py."""

# ruff: noqa: RUF005, SIM108, SIM300
from __future__ import annotations

from ...runtime.language import tl, triton
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
    of_law,
    split_run,
)


@triton.jit
def store_tile(out_ptr, start, values, U: tl.constexpr):
    """Stores a full tile, the one U tiles after element `start`, 16 bytes per access."""
    TILE: tl.constexpr = values.shape[0]
    ptrs = tl.multiple_of(out_ptr + start + tl.arange(0, TILE), 16)
    tl.store(ptrs + U * TILE, values.to(out_ptr.dtype.element_ty))


@triton.jit
def inside(x, values, LOWER: tl.constexpr, UPPER: tl.constexpr, END: tl.constexpr):
    """Keeps a sample within its support, NaN apart: from LOWER to UPPER and at most END, where not None."""
    # Constants get the sample's dtype here: `tl.minimum` and the like would round them to float32.
    if END is not None:
        x = tl.minimum(x, END(x, *values, False), propagate_nan=tl.PropagateNan.ALL)
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
            store_tile(out_ptr, at, inside(TRANSFORM(of_law(x), *values, HARDWARE), values, LOWER, UPPER, END), u)
            if LOG_PROB is not None:
                store_tile(log_prob_ptr, at, tl.broadcast_to(LOG_PROB(of_law(x), *values, HARDWARE), x[0].shape), u)
        c0 += UNROLL * LANES * STREAMS
        at += UNROLL * TILE

    for t in range(hot * UNROLL, full):
        at = start + t * TILE
        blocks = lane_blocks(
            block, t, offset, start, sizes, strides, len(KINDS), PER_BLOCK, WINDOW, WIDE, LANES, STREAMS
        )
        x = noise_of_tile(lane_noise_carrying(blocks, k0, k1, NOISE, SECOND, DTYPE, HARDWARE, STREAMS), GROUP)
        values = load_tile(operands, at, sizes, strides, 0, KINDS, WIDE, COMPUTE, LANES, GROUP)
        store_tile(out_ptr, at, inside(TRANSFORM(of_law(x), *values, HARDWARE), values, LOWER, UPPER, END), 0)
        if LOG_PROB is not None:
            store_tile(log_prob_ptr, at, tl.broadcast_to(LOG_PROB(of_law(x), *values, HARDWARE), x[0].shape), 0)

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
            y = inside(TRANSFORM(of_law(x), *values, HARDWARE), values, LOWER, UPPER, END)
            tl.store(out_ptr + element, y.to(DTYPE), mask=mask)
            if LOG_PROB is not None:
                tl.store(log_prob_ptr + element, LOG_PROB(of_law(x), *values, HARDWARE).to(DTYPE), mask=mask)


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
