"""Dropout and a residual sum in one kernel: residual + x * keep / (1 - p), where keep has probability 1 - p.

`F.dropout` writes its sample and a mask, and the sum reads the sample again. Here x and the residual are read and the
result is written, nothing else; backward draws the mask again from the key.
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
def forward_kernel(out_ptr, x_ptr, residual_ptr, keep, seed, offset, n, BLOCK: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * BLOCK
    i = start + tl.arange(0, BLOCK)
    kept = device.bernoulli(seed, offset, start, keep, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n).to(tl.float32)
    residual = tl.load(residual_ptr + i, mask=i < n).to(tl.float32)
    tl.store(out_ptr + i, residual + tl.where(kept, x * (1.0 / keep), 0.0), mask=i < n)


@triton.jit
def backward_kernel(x_grad_ptr, grad_ptr, keep, seed, offset, n, BLOCK: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * BLOCK
    i = start + tl.arange(0, BLOCK)
    kept = device.bernoulli(seed, offset, start, keep, BLOCK)
    grad = tl.load(grad_ptr + i, mask=i < n).to(tl.float32)
    tl.store(x_grad_ptr + i, tl.where(kept, grad * (1.0 / keep), 0.0), mask=i < n)


class DropoutAdd(torch.autograd.Function):
    """apply(x, residual, p, key): x and residual of one shape and dtype, contiguous; the key of two Python numbers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor, p: float, key: tuple[int, int]) -> Tensor:
        ctx.p, ctx.key = p, key
        out, n = torch.empty_like(x), x.numel()
        forward_kernel[(triton.cdiv(n, BLOCK),)](out, x, residual, 1 - p, *key, n, BLOCK, enable_fp_fusion=False)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad = grad.contiguous()
        x_grad, n = torch.empty_like(grad), grad.numel()
        backward_kernel[(triton.cdiv(n, BLOCK),)](x_grad, grad, 1 - ctx.p, *ctx.key, n, BLOCK, enable_fp_fusion=False)
        return x_grad, grad, None, None


def dropout_add(x: Tensor, residual: Tensor, p: float, key: tuple[int, int]) -> Tensor:
    result: Tensor = DropoutAdd.apply(x, residual, p, key)
    return result
