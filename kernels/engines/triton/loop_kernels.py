"""The Triton kernels of draws that loop, and their launchers: one element per lane, whatever the noise and the law.

A program is one warp, so that a loop ends as soon as the 32 elements in flight are accepted, and asks no other warp.
"""

# Triton's front end knows no starred tuples, and names in capitals are compile-time constants, not Yoda's.
# ruff: noqa: RUF005, SIM108, SIM300
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...laws.law import Law
from ...laws.rejection.noise import LoopNoise
from ...runtime.language import tl, triton
from ...stream.layout import describe
from ...stream.noise import compute_dtype
from ...stream.window import Window
from .elementwise import STORED, bound_constants
from .elementwise_kernels import inside
from .launch import Config, Launched, device_empty, launch_elements, slots
from .tiles import load_elements, load_key, load_scalars, number_in_sample, of_law

CONFIG = Config(warps=1, unroll=1, passes=16)


@triton.jit
def element_noise(
    operands,
    element,
    offset,
    k0,
    k1,
    sizes,
    strides,
    FIRST: tl.constexpr,
    WINDOW: tl.constexpr,
    WIDE: tl.constexpr,
    NOISE: tl.constexpr,
    DTYPE: tl.constexpr,
    HARDWARE: tl.constexpr,
):
    """The noise of each lane's element, a tuple. Parameters are the operands from number FIRST on."""
    block = offset + number_in_sample(element, sizes, strides, len(operands), WINDOW, WIDE).to(tl.uint64)
    params = ()
    for j in tl.static_range(FIRST, len(operands)):
        params = params + (operands[j],)
    return NOISE(block.to(tl.uint32), (block >> 32).to(tl.uint32), k0, k1, *params, DTYPE, HARDWARE)


@triton.jit
def load_lanes(operands, element, mask, sizes, strides, KINDS: tl.constexpr, WIDE: tl.constexpr, COMPUTE: tl.constexpr):
    """The operands of each lane's element; 1 in lanes without one, where a loop ends as in the others."""
    loaded = load_elements(operands, element, mask, sizes, strides, KINDS, WIDE, COMPUTE, 1.0)
    values = ()
    for j in tl.static_range(len(KINDS)):
        values = values + (tl.broadcast_to(loaded[j], element.shape),)
    return values


@triton.jit(
    do_not_specialize=["n", "first_program", "run", "in_memory", "k0", "k1", "offset"],
    do_not_specialize_on_alignment=["out_ptr", "a_ptr", "b_ptr", "c_ptr", "d_ptr", "seed_ptr", "offset_ptr"],
)
def loop_forward_kernel(
    out_ptr,
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
    TRANSFORM: tl.constexpr,
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
    """out[i] = TRANSFORM(noise of element i, parameters of element i)."""
    DTYPE: tl.constexpr = out_ptr.dtype.element_ty
    COMPUTE: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    k0, k1, offset = load_key(seed_ptr, offset_ptr, in_memory, k0, k1, offset, KEY)
    operands = load_scalars((a_ptr, b_ptr, c_ptr, d_ptr), KINDS, COMPUTE)
    start = (tl.program_id(0).to(tl.int64) + first_program) * run * LANES
    for t in range(tl.minimum(tl.cdiv(n - start, LANES), run).to(tl.int32)):
        element = start + t * LANES + tl.arange(0, LANES)
        mask = element < n
        values = load_lanes(operands, element, mask, sizes, strides, KINDS, WIDE, COMPUTE)
        noise = element_noise(values, element, offset, k0, k1, sizes, strides, 0, WINDOW, WIDE, NOISE, DTYPE, HARDWARE)
        x = inside(TRANSFORM(of_law(noise), *values, HARDWARE), values, LOWER, UPPER, END)
        tl.store(out_ptr + element, x.to(DTYPE), mask=mask)


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
        "seed_ptr",
        "offset_ptr",
    ],
)
def loop_backward_kernel(
    a_out_ptr,
    b_out_ptr,
    c_out_ptr,
    d_out_ptr,
    grad_ptr,
    p_ptr,
    q_ptr,
    r_ptr,
    s_ptr,
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
    TRANSFORM_GRAD: tl.constexpr,
    OUTPUTS: tl.constexpr,
    KINDS: tl.constexpr,
    WIDE: tl.constexpr,
    WINDOW: tl.constexpr,
    KEY: tl.constexpr,
    HARDWARE: tl.constexpr,
    LANES: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """Gradients of the parameters, each as OUTPUTS says: "elements", one partial "sum" per program, or "none"."""
    DTYPE: tl.constexpr = grad_ptr.dtype.element_ty
    COMPUTE: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    k0, k1, offset = load_key(seed_ptr, offset_ptr, in_memory, k0, k1, offset, KEY)
    outs = (a_out_ptr, b_out_ptr, c_out_ptr, d_out_ptr)
    operands = load_scalars((grad_ptr, p_ptr, q_ptr, r_ptr, s_ptr), KINDS, COMPUTE)
    start = (tl.program_id(0).to(tl.int64) + first_program) * run * LANES
    sums = ()
    for _ in tl.static_range(len(OUTPUTS)):
        sums = sums + (tl.zeros((LANES,), COMPUTE),)
    for t in range(tl.minimum(tl.cdiv(n - start, LANES), run).to(tl.int32)):
        element = start + t * LANES + tl.arange(0, LANES)
        mask = element < n
        values = load_lanes(operands, element, mask, sizes, strides, KINDS, WIDE, COMPUTE)
        noise = element_noise(values, element, offset, k0, k1, sizes, strides, 1, WINDOW, WIDE, NOISE, DTYPE, HARDWARE)
        grads = TRANSFORM_GRAD(of_law(noise), *values, HARDWARE)
        added = ()
        for j in tl.static_range(len(OUTPUTS)):
            if OUTPUTS[j] == "elements":
                tl.store(outs[j] + element, grads[j].to(outs[j].dtype.element_ty), mask=mask)
            if OUTPUTS[j] == "sum":
                added = added + (sums[j] + tl.where(mask, grads[j], 0.0),)
            else:
                added = added + (sums[j],)
        sums = added
    for j in tl.static_range(len(OUTPUTS)):
        if OUTPUTS[j] == "sum":
            tl.store(outs[j] + tl.program_id(0), tl.sum(sums[j]))


def forward(
    law: Law,
    key: Sequence[Tensor],
    params: Sequence[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    window: Window | None = None,
) -> tuple[Tensor]:
    """The sample of a draw; as :func:`engines.triton.elementwise.forward`."""
    return launched(law, key, params, shape, dtype, window)[0]


def launched(
    law: Law,
    key: Sequence[Tensor],
    params: Sequence[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    window: Window | None = None,
) -> tuple[tuple[Tensor], Launched | None]:
    """`forward`, and what repeats it; see :func:`engines.triton.launch.launch_elements`."""
    assert isinstance(law.noise, LoopNoise)
    out = device_empty(shape, dtype, params[0].device)
    if out.numel() == 0:
        return (out,), None
    repeated = launch_elements(
        loop_forward_kernel,
        (out, *slots(params)),
        describe(out.shape, params, 1, None if window is None else window.strides),
        out.numel(),
        1,
        key,
        {
            "NOISE": law.noise.device,
            "TRANSFORM": law.device_function("transform"),
            **bound_constants(law, dtype),
        },
        device=out.device,
        tune=False,
        config=CONFIG,
    )
    return (out,), repeated


def backward(
    law: Law,
    key: Sequence[Tensor],
    given: Sequence[Tensor],
    params: Sequence[Tensor],
    needs: Sequence[bool],
    window: Window | None = None,
) -> list[Tensor]:
    """The gradients that `needs` marks; as :func:`engines.triton.elementwise.backward`.

    That of a parameter which broadcasts otherwise than from one number is stored for every element and then summed.
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
    """`backward`, and what repeats it; as :func:`engines.triton.elementwise.launched_backward`."""
    grad = given[0]
    n, compute = grad.numel(), compute_dtype(grad.dtype)
    assert isinstance(law.noise, LoopNoise)
    wanted = [j for j, needed in enumerate(needs) if needed]
    if n == 0:
        zeros = [torch.zeros(params[j].shape, dtype=params[j].dtype, device=grad.device) for j in wanted]
        return zeros, (), None
    outputs = ["none"] * len(params)
    outs: list[Tensor | None] = [None] * len(params)
    for j in wanted:
        if params[j].numel() == 1 and n > 1:
            outputs[j], outs[j] = "sum", device_empty((CONFIG.programs(n, 1),), compute, grad.device)
        else:
            outputs[j] = "elements"
            outs[j] = device_empty(grad.shape, params[j].dtype if params[j].numel() == n else compute, grad.device)
    operands = (grad, *params)
    repeated = launch_elements(
        loop_backward_kernel,
        (*slots(outs), *slots(operands, 5)),
        describe(grad.shape, operands, 1, None if window is None else window.strides),
        n,
        1,
        key,
        {"NOISE": law.noise.device, "TRANSFORM_GRAD": law.device_function("transform_grad"), "OUTPUTS": tuple(outputs)},
        device=grad.device,
        tune=False,
        config=CONFIG,
    )
    stored = tuple(STORED.index(output) for output in outputs)
    alone = all(outputs[j] == "sum" or params[j].numel() == n for j in wanted)
    grads = [_reduced(outs[j], params[j], outputs[j]) for j in wanted]
    return grads, stored, repeated if alone else None


def _reduced(stored: Tensor | None, param: Tensor, output: str) -> Tensor:
    assert stored is not None
    if output == "sum":
        return stored.sum().to(param.dtype).reshape(param.shape)
    return (
        stored.sum_to_size(param.shape).to(param.dtype) if stored.numel() != param.numel() else stored.view(param.shape)
    )
