"""Gradients of parameters that are broadcast over some dimensions of the sample and not over others.

The sample's dimensions are sorted into those that the parameter has (kept) and those that it is broadcast over
(reduced). A program owns some of the kept index space and walks a share of the reduced one, regenerating the noise as
it goes; a large reduction is shared out among programs, whose partial sums are added by a second, small kernel. The
order of all sums is fixed by shapes and dtypes.
"""

# Triton's front end knows no starred tuples, and names in capitals are compile-time constants, not Yoda's.
# ruff: noqa: RUF005, SIM300
from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ...laws.law import Law
from ...runtime.language import tl, triton
from ...stream.layout import INT31, collapse, pack, row_major_strides, strided_offset, unpack
from ...stream.noise import compute_dtype, elements_per_block
from ...stream.window import Window
from .direct_launch import launch
from .launch import device_empty, hardware, key_arguments, slots
from .tiles import gradients, lane_noise_carrying, load_key, noise_of_lanes

_LANES = 128
# Programs that fill a GPU; a reduction is split until there are about as many.
_PROGRAMS = 1024


@triton.jit
def _noise_of_element(x, element):
    """Picks the noise of each element from its block's tuple of 4 or 2."""
    if len(x) == 4:
        even = tl.where(element % 4 < 2, x[0], x[2])
        odd = tl.where(element % 4 < 2, x[1], x[3])
    else:
        even = x[0]
        odd = x[1]
    return tl.where(element % 2 == 0, even, odd)


@triton.jit(
    do_not_specialize=["kept", "reduced", "steps", "in_memory", "k0", "k1", "offset"],
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
def reduced_backward_kernel(
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
    kept_sizes,
    kept_strides,
    reduced_sizes,
    reduced_strides,
    inner_strides,
    kept: tl.int64,
    reduced: tl.int64,
    steps: tl.int32,
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
    OPERANDS: tl.constexpr,
    GROUP: tl.constexpr,
    INNER_KEPT: tl.constexpr,
    WIDE: tl.constexpr,
    KEY: tl.constexpr,
    HARDWARE: tl.constexpr,
    KEPT: tl.constexpr,
    REDUCED: tl.constexpr,
):
    """Sums over the reduced index space, one for each kept index and program along axis 1.

    A lane handles GROUP neighbouring elements, which share a Philox block, along the innermost dimension of the sample;
    INNER_KEPT tells which space that dimension belongs to. Row 0 of the strides is the element's number in the sample,
    the others are the operands, which are what `gradients` takes. OUTPUTS marks the parameters whose gradients are
    stored.
    """
    DTYPE: tl.constexpr = grad_ptr.dtype.element_ty
    COMPUTE: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    PER_BLOCK: tl.constexpr = 2 if DTYPE == tl.float64 else 4
    INDEX: tl.constexpr = tl.uint64 if WIDE else tl.uint32
    # Sums of one lane for one parameter.
    N: tl.constexpr = GROUP if INNER_KEPT else 1

    k0, k1, offset = load_key(seed_ptr, offset_ptr, in_memory, k0, k1, offset, KEY)
    outs = (a_out_ptr, b_out_ptr, c_out_ptr, d_out_ptr)
    operands = (grad_ptr, p_ptr, q_ptr, r_ptr, s_ptr, t_ptr)

    k = tl.program_id(0).to(tl.int64) * KEPT + tl.arange(0, KEPT)
    k_mask = k < kept
    k_offsets = ()
    for j in tl.static_range(OPERANDS + 1):
        k_offsets = k_offsets + (strided_offset(k.to(INDEX), kept_sizes, kept_strides, j, WIDE)[:, None],)

    sums = ()
    for _ in tl.static_range(len(OUTPUTS) * N):
        sums = sums + (tl.zeros((KEPT, REDUCED), COMPUTE),)
    for step in range(steps):
        r = (tl.program_id(1).to(tl.int64) * steps + step) * REDUCED + tl.arange(0, REDUCED)
        mask = k_mask[:, None] & (r < reduced)[None, :]
        element = k_offsets[0] + strided_offset(r.to(INDEX), reduced_sizes, reduced_strides, 0, WIDE)[None, :]
        block = offset + (element // PER_BLOCK).to(tl.uint64)
        x = lane_noise_carrying(block, k0, k1, NOISE, SECOND, DTYPE, HARDWARE, 1)
        for i in tl.static_range(GROUP):
            values = ()
            for j in tl.static_range(OPERANDS):
                at = (
                    k_offsets[j + 1] + strided_offset(r.to(INDEX), reduced_sizes, reduced_strides, j + 1, WIDE)[None, :]
                )
                at += i * unpack(inner_strides[j], WIDE)
                values = values + (tl.load(operands[j] + at, mask=mask, other=0.0).to(COMPUTE),)
            if GROUP != 1:
                noise = noise_of_lanes(x, i, PER_BLOCK)
            elif SECOND is None:
                noise = (_noise_of_element(x, element),)
            else:
                noise = _noise_of_element(x[:PER_BLOCK], element), _noise_of_element(x[PER_BLOCK:], element)
            grads = gradients(noise, values, TRANSFORM_GRAD, LOG_PROB_GRAD, AFFINE, HARDWARE)
            added = ()
            for j in tl.static_range(len(OUTPUTS) * N):
                if OUTPUTS[j // N] and j % N == i % N:
                    added = added + (sums[j] + tl.where(mask, grads[j // N], 0.0),)
                else:
                    added = added + (sums[j],)
            sums = added

    for j in tl.static_range(len(OUTPUTS) * N):
        if OUTPUTS[j // N]:
            out_ptr = outs[j // N]
            at = (tl.program_id(1) * kept + k) * N + j % N
            tl.store(out_ptr + at, tl.sum(sums[j], axis=1).to(out_ptr.dtype.element_ty), mask=k_mask)


def kept_dimensions(shape: Sequence[int], parameter_shape: Sequence[int]) -> tuple[bool, ...]:
    """For each dimension of the sample, whether a parameter has it too, rather than being broadcast over it."""
    padded = (1,) * (len(shape) - len(parameter_shape)) + tuple(parameter_shape)
    return tuple(p == s for p, s in zip(padded, shape, strict=True))


def reduced_backward(
    law: Law,
    key: Sequence[Tensor],
    operands: Sequence[Tensor],
    params: Sequence[Tensor],
    kept: Sequence[bool],
    members: Sequence[int],
    window: Window | None = None,
) -> dict[int, Tensor]:
    """Gradients of the parameters numbered `members`, which all have the dimensions marked in `kept` and no others.

    Args:
        operands: what the law's gradient takes besides the noise: gradients of outputs, parameters if it needs them.
        window: that of the draw, if it is part of a larger sample.
    """
    grad = operands[0]
    shape = grad.shape
    numbers = row_major_strides(shape) if window is None else window.strides
    rows = [numbers, *(operand.expand(shape).stride() for operand in operands)]
    spaces = {}
    for space in (True, False):
        dims = [d for d in range(len(shape)) if kept[d] == space]
        spaces[space] = collapse([shape[d] for d in dims], [[row[d] for d in dims] for row in rows])

    # The space whose innermost step is the next element holds the innermost dimension.
    inner = spaces[True][1][0][-1] == 1
    sizes, strides = spaces[inner]
    group = elements_per_block(grad.dtype)
    if sizes[-1] % group:
        group = 1
    inner_strides = [row[-1] for row in strides[1:]]
    sizes[-1] //= group
    for row in strides:
        row[-1] *= group
    lanes = {space: math.prod(spaces[space][0]) for space in (True, False)}

    # Lanes lie along the innermost dimension first, where neighbours share cache lines.
    along = next(width for width in (_LANES, _LANES // 8, _LANES // 64) if width <= max(lanes[inner], 2))
    tile = {inner: along, not inner: _LANES // along}
    steps = -(-lanes[False] // tile[False])
    grid = -(-lanes[True] // tile[True])
    steps = -(-steps // max(1, min(steps // 4, _PROGRAMS // grid)))
    splits = -(-lanes[False] // (tile[False] * steps))

    numel = shape.numel()
    extents = [sum((shape[d] - 1) * row[d] for d in range(len(shape))) for row in rows]
    largest = max(2 * v for sizes, strides in spaces.values() for row in (sizes, *strides) for v in row)
    wide = max(numel, *extents, largest, *(2 * v for v in inner_strides)) >= INT31

    outs: dict[int, Tensor] = {}
    for j in members:
        if splits == 1:
            outs[j] = device_empty(params[j].shape, params[j].dtype, grad.device)
        else:
            outs[j] = device_empty((splits, *params[j].shape), compute_dtype(grad.dtype), grad.device)
    key_kind, *key_words = key_arguments(key, grad.device)
    launch(
        reduced_backward_kernel,
        (grid, splits),
        grad.device,
        *slots([outs.get(j) for j in range(len(params))]),
        *slots(operands, 6),
        pack(spaces[True][0], wide),
        pack([s for row in spaces[True][1] for s in row], wide),
        pack(spaces[False][0], wide),
        pack([s for row in spaces[False][1] for s in row], wide),
        pack(inner_strides, wide),
        lanes[True],
        lanes[False],
        steps,
        *key_words,
        **law.device_grad_constants(),
        OUTPUTS=tuple(j in outs for j in range(len(params))),
        OPERANDS=len(operands),
        GROUP=group,
        INNER_KEPT=inner,
        WIDE=wide,
        KEY=key_kind,
        HARDWARE=hardware(),
        KEPT=tile[True],
        REDUCED=tile[False],
        num_warps=_LANES // 32,
        enable_fp_fusion=False,
    )
    if splits > 1:
        return {j: outs[j].sum(0).to(params[j].dtype) for j in members}
    return outs
