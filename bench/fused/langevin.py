"""A step of Langevin dynamics or of a diffusion sampler in one kernel: x + a * score + b * eps, eps standard normal.

Gradients reach x, the score and both step sizes; that of b makes the noise again from the key.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rsample.kernels import device

BLOCK = 1024


@triton.jit
def forward_kernel(out_ptr, x_ptr, score_ptr, a_ptr, b_ptr, seed, offset, n, BLOCK: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * BLOCK
    i = start + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n)
    score = tl.load(score_ptr + i, mask=i < n)
    eps = device.normal(seed, offset, start, BLOCK)
    tl.store(out_ptr + i, x + tl.load(a_ptr) * score + tl.load(b_ptr) * eps, mask=i < n)


@triton.jit
def backward_kernel(sums_ptr, score_grad_ptr, grad_ptr, score_ptr, a_ptr, seed, offset, n, BLOCK: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * BLOCK
    i = start + tl.arange(0, BLOCK)
    grad = tl.load(grad_ptr + i, mask=i < n, other=0.0)
    score = tl.load(score_ptr + i, mask=i < n, other=0.0)
    tl.store(score_grad_ptr + i, tl.load(a_ptr) * grad, mask=i < n)
    # Of each program; torch adds them up, in an order that does not depend on when they end.
    of_noise = tl.sum(grad * device.normal(seed, offset, start, BLOCK))
    tl.store(sums_ptr + 2 * tl.program_id(0) + tl.arange(0, 2), tl.join(tl.sum(grad * score), of_noise))


class LangevinStep(torch.autograd.Function):
    """apply(x, score, a, b, key): x and score float32 of one shape, contiguous; a and b 0-dim; a key of two numbers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, score: Tensor, a: Tensor, b: Tensor, key: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(score, a)
        ctx.key = key
        out, n = torch.empty_like(x), x.numel()
        forward_kernel[(triton.cdiv(n, BLOCK),)](out, x, score, a, b, *key, n, BLOCK, enable_fp_fusion=False)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        score, a = ctx.saved_tensors
        grad = grad.contiguous()
        score_grad, n = torch.empty_like(grad), grad.numel()
        programs = triton.cdiv(n, BLOCK)
        sums = grad.new_empty(programs, 2)
        backward_kernel[(programs,)](sums, score_grad, grad, score, a, *ctx.key, n, BLOCK, enable_fp_fusion=False)
        of_a, of_b = sums.sum(0)
        return grad, score_grad, of_a, of_b, None


def langevin_step(x: Tensor, score: Tensor, a: Tensor, b: Tensor, key: tuple[int, int]) -> Tensor:
    result: Tensor = LangevinStep.apply(x, score, a, b, key)
    return result
