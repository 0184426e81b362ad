"""A kernel that applies a law's device functions to given words, so that tests choose the words."""

# Triton's front end knows no starred tuples.
# ruff: noqa: RUF005

from __future__ import annotations

import numpy as np
import torch

from rsample.kernels.engines.triton import elementwise, launch
from rsample.kernels.engines.triton.elementwise_kernels import inside
from rsample.kernels.engines.triton.tiles import gradients, noise_of_lanes, of_law
from rsample.kernels.laws.law import Law
from rsample.kernels.runtime.language import tl, triton
from rsample.kernels.stream.noise import compute_dtype

BLOCKS = 128  # of words, in one program


@triton.jit
def load_words(ptr):
    w0 = tl.load(ptr).to(tl.uint32)
    w1 = tl.load(ptr + 1).to(tl.uint32)
    w2 = tl.load(ptr + 2).to(tl.uint32)
    w3 = tl.load(ptr + 3).to(tl.uint32)
    return w0, w1, w2, w3


def second_words(words: np.ndarray) -> np.ndarray:
    """The words of the second noise beside those of the first."""
    return np.roll(words, 1, 0)[:, ::-1]


@triton.jit
def law_kernel(
    out_ptr,
    words_ptr,
    param_ptr,
    cotangent_ptr,
    n,
    NOISE: tl.constexpr,
    SECOND: tl.constexpr,
    TRANSFORM: tl.constexpr,
    LOG_PROB: tl.constexpr,
    TRANSFORM_GRAD: tl.constexpr,
    LOG_PROB_GRAD: tl.constexpr,
    AFFINE: tl.constexpr,
    LOWER: tl.constexpr,
    UPPER: tl.constexpr,
    END: tl.constexpr,
    DTYPE: tl.constexpr,
    HARDWARE: tl.constexpr,
    PARAMS: tl.constexpr,
    COTANGENTS: tl.constexpr,
    GRADS: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Rows of `out`, each of n elements: the sample, its log-density, and the gradient of each parameter."""
    i = tl.program_id(0) * BLOCKS + tl.arange(0, BLOCKS)
    w0, w1, w2, w3 = load_words(words_ptr + 4 * i)
    lanes = NOISE(w0, w1, w2, w3, DTYPE, HARDWARE)
    GROUP: tl.constexpr = len(lanes)
    if SECOND is not None:
        w0, w1, w2, w3 = load_words(words_ptr + 4 * (i + tl.num_programs(0) * BLOCKS))
        lanes = lanes + SECOND(w0, w1, w2, w3, DTYPE, HARDWARE)
    for k in tl.static_range(GROUP):
        noises = noise_of_lanes(lanes, k, GROUP)
        x = of_law(noises)
        at = i * GROUP + k
        params = ()
        for j in tl.static_range(PARAMS):
            params = params + (tl.load(param_ptr + j * n + at),)
        sample = inside(TRANSFORM(x, *params, HARDWARE), params, LOWER, UPPER, END)
        tl.store(out_ptr + at, sample.to(DTYPE).to(sample.dtype))
        if LOG_PROB is not None:
            tl.store(out_ptr + n + at, tl.broadcast_to(LOG_PROB(x, *params, HARDWARE), at.shape))
        if GRADS:
            given = ()
            for j in tl.static_range(COTANGENTS):
                given = given + (tl.load(cotangent_ptr + j * n + at),)
            grads = gradients(noises, given + params, TRANSFORM_GRAD, LOG_PROB_GRAD, AFFINE, HARDWARE)
            for j in tl.static_range(PARAMS):
                tl.store(out_ptr + (2 + j) * n + at, grads[j])


def run_law(
    law: Law, words: np.ndarray, params: list[torch.Tensor], cotangents: list[torch.Tensor], dtype: torch.dtype, device
) -> torch.Tensor:
    """(2 + parameters, n): sample (rounded to `dtype`), log-density and gradients of elements of (blocks, 4) words.

    Args:
        params: (n,) tensors of the compute dtype, n the number of elements.
        cotangents: (n,) gradients of the outputs that `law.cotangents` names.
    """
    compute = compute_dtype(dtype)
    n = params[0].numel()
    out = torch.full((2 + len(params), n), float("nan"), dtype=compute, device=device)
    law_kernel[(len(words) // BLOCKS,)](
        out,
        torch.from_numpy(np.concatenate((words, second_words(words))).astype(np.int64)).to(device),
        torch.stack(params).to(device, compute),
        torch.stack(cotangents).to(device, compute) if cotangents else out,
        n,
        **law.device_constants(),
        **{k: v for k, v in law.device_grad_constants().items() if k not in ("NOISE", "SECOND")},
        **elementwise.bound_constants(law, dtype),
        DTYPE=getattr(tl, str(dtype).removeprefix("torch.")),
        HARDWARE=launch.hardware(),
        PARAMS=len(params),
        COTANGENTS=len(cotangents),
        GRADS=bool(cotangents),
        BLOCKS=BLOCKS,
        enable_fp_fusion=False,
    )
    return out.cpu()
