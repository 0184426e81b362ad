"""Draws as plain torch code: the specification of every other backend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...laws.law import Law
from ...laws.rejection.noise import LoopNoise, loop_noise
from ...stream.compatibility import fills_on, split
from ...stream.noise import Noise, NoisePair, compute_dtype, elements_per_block, signed64
from ...stream.philox import philox_blocks
from ...stream.window import Window

# Philox blocks made at a time: the words of one are 64-bit integers in some twenty temporaries.
CHUNK = 2**14


def noise(kind: Noise, key: Tensor, numel: int, dtype: torch.dtype, stream: int = 0) -> Tensor:
    """Noise of elements 0..numel of a draw of `dtype` from one key, 1-D, in the compute dtype.

    Args:
        key: (2,) int64 tensor, the bits of (seed, offset in blocks).
        stream: the last counter word.
    """
    block = torch.arange(-(-numel // elements_per_block(dtype)), device=key.device)
    parts = [_of_blocks(kind, key, part, dtype, stream) for part in block.split(CHUNK)]
    return (parts[0] if len(parts) == 1 else torch.cat(parts))[:numel]


def _of_blocks(kind: Noise, key: Tensor, block: Tensor, dtype: torch.dtype, stream: int = 0) -> Tensor:
    """The noise of blocks, numbered from that of the key on."""
    words = philox_blocks(key[0], key[1] + block, 0, stream)
    return torch.stack(kind.from_words(words, dtype), -1).reshape(-1)


def forward(
    law: Law,
    key: Tensor,
    params: Sequence[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    window: Window | None = None,
) -> tuple[Tensor, ...]:
    """What a draw of `shape` and `dtype` gives.

    Args:
        key: a packed key, uint64.
        params: broadcast to `shape`.
        window: that of the draw, if it is part of a larger sample.
    """
    compute = compute_dtype(dtype)
    params = [_cast(p, compute) for p in params]
    eps = _noise_of(law, key, params, shape, dtype, params[0], window)
    outputs = law.draw(eps, *params)
    sample = outputs[0]
    if law.support is not None and law.support.within_reach(dtype):
        sample = law.support.bounded(sample, params, *law.support.limits(dtype), law.support.step(dtype))
    # Torch's operators give their result the strides of what they read.
    sample = _cast(sample, dtype).contiguous()
    if not law.joint:
        return (sample,)
    # A log-density need not depend on the noise.
    return sample, _cast(outputs[1].expand(sample.shape).contiguous(), dtype)


def backward(
    law: Law,
    key: Tensor,
    given: Sequence[Tensor],
    params: Sequence[Tensor],
    needs: Sequence[bool],
    window: Window | None = None,
) -> list[Tensor]:
    """The gradients of the parameters marked in `needs`, each of its parameter's shape and dtype.

    Args:
        given: gradients of the outputs that `law.cotangents` names, of the sample's shape and dtype.
    """
    grad = given[0]
    compute = compute_dtype(grad.dtype)
    params_as = [_cast(p, compute) for p in params]
    eps = _noise_of(law, key, params_as, grad.shape, grad.dtype, grad, window)
    grads = law.gradients(eps, *[_cast(g, compute) for g in given], *params_as)
    return reduced(grads, params, grad.shape, needs)


def reduced(
    grads: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], needs: Sequence[bool]
) -> list[Tensor]:
    """Gradients of a draw of `shape`, summed over broadcast dimensions to their parameters' shapes and dtypes."""
    return [
        _cast(g if g.shape == p.shape == shape else g.expand(shape).sum_to_size(p.shape), p.dtype)
        for g, p, needed in zip(grads, params, needs, strict=True)
        if needed
    ]


def _noise_of(
    law: Law,
    key: Tensor,
    params: Sequence[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    like: Tensor,
    window: Window | None,
) -> Any:
    if isinstance(law.noise, LoopNoise):
        return loop_noise(law.noise, key, params, shape, dtype, window)
    if isinstance(law.noise, NoisePair):
        second = _second_noise(law.noise.second, key.to(like.device).view(torch.int64), shape, dtype, window)
        return eager_noise(law.noise.first, key, shape, dtype, like, window), second
    return eager_noise(law.noise, key, shape, dtype, like, window)


def _second_noise(kind: Noise, key: Tensor, shape: Sequence[int], dtype: torch.dtype, window: Window | None) -> Tensor:
    if window is None:
        return noise(kind, key, math.prod(shape), dtype, 1).view(*shape)
    blocks = window.blocks(shape, elements_per_block(dtype), key.device)
    return _of_blocks(kind, key, blocks, dtype, 1).view(*shape)


def eager_noise(
    kind: Noise, key: Tensor, shape: Sequence[int], dtype: torch.dtype, like: Tensor, window: Window | None = None
) -> Tensor:
    """`noise` by ATen's stateless kernels where these run: one call instead of some eighty small ones.

    The noise lies on the device of `like`, any tensor of the draw.
    """
    device = like.device
    if key.device != device:
        key = key.to(device)
    if window is not None:
        return _noise_in_window(kind, key, shape, dtype, window)
    if fills_on(device):
        compute = compute_dtype(dtype)
        if kind.of_element is not None:
            return kind.of_element(_signed_words(key, shape, dtype), dtype)
        fill_dtype = dtype if kind.native_resolution else compute
        if like.dtype == fill_dtype and like.shape == shape and like.is_contiguous():
            out = torch.empty_like(like)  # half the price of torch.empty with its arguments
        else:
            out = torch.empty(shape, dtype=fill_dtype, device=device)
        assert kind.aten_fill is not None
        return _cast(kind.aten_fill(out, key), compute)
    return noise(kind, key.view(torch.int64), torch.Size(shape).numel(), dtype).reshape(shape)


def _noise_in_window(kind: Noise, key: Tensor, shape: Sequence[int], dtype: torch.dtype, window: Window) -> Tensor:
    """`eager_noise` of a window: every run of it has a key of its own."""
    device, bits, per_block = key.device, key.view(torch.int64), elements_per_block(dtype)
    blocks = window.blocks(shape, per_block, device)
    if fills_on(device):
        runs = torch.stack((bits[0].expand(len(blocks)), bits[1] + blocks[:, 0]), -1).view(torch.uint64)
        if kind.of_element is not None:
            words = split(runs, blocks.shape[1]).transpose(0, 1).contiguous()
            return kind.of_element(_joined(words, per_block).view(shape), dtype)
        compute = compute_dtype(dtype)
        out = torch.empty(
            len(blocks), per_block * blocks.shape[1], dtype=dtype if kind.native_resolution else compute, device=device
        )
        assert kind.aten_fill is not None
        return _cast(kind.aten_fill(out, runs.unsqueeze(1)), compute).view(shape)
    return _of_blocks(kind, bits, blocks, dtype).view(shape)


def _signed_words(key: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """What `Noise.of_element` takes for each element of a draw.

    Splitting a key makes each new one from the block that its offset counts to: the words are those of the stream.
    """
    numel, per_block = math.prod(shape), elements_per_block(dtype)
    words = split(key, max(-(-numel // per_block), 1))
    return _joined(words, per_block)[:numel].view(shape)


def _joined(keys: Tensor, per_block: int) -> Tensor:
    words = keys.view(torch.int32).view(-1)
    return signed64(words[0::2], words[1::2]) if per_block == 2 else words


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    # A call of .to() that does nothing still costs 1 us, a tenth of a small draw.
    return tensor if tensor.dtype == dtype else tensor.to(dtype)
