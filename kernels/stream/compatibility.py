"""All that depends on the version of torch or Triton. It asks what the installed one can do, not which one it is.

torch 2.14 brought kernels that fill a tensor from a key (`torch.func._random`), and generators that tell their state.
Before, the same numbers come from plain torch code and from the compiled loops.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .philox import philox_blocks


def _has_kernels_on(device_type: str) -> bool:
    return hasattr(torch, "_philox_key_split") and torch._C._dispatch_has_kernel_for_dispatch_key(
        "aten::_philox_key_split", device_type.upper()
    )


# Where ATen fills tensors from a key: 2.12 and 2.13 do on CUDA alone.
_FILLED = {device_type: _has_kernels_on(device_type) for device_type in ("cpu", "cuda")}
FILLS_ON_CPU = _FILLED["cpu"]

Fill = Callable[[Tensor, Tensor], Tensor]
fill_uniform: Fill | None = getattr(torch, "_philox_uniform_", None)
fill_normal: Fill | None = getattr(torch, "_philox_normal_", None)


def fills_on(device: torch.device) -> bool:
    """Whether `fill_uniform`, `fill_normal` and ATen's `split` run on a device."""
    return _FILLED.get(device.type, False)


def key(seed: int, device: torch.device | str = "cpu") -> Tensor:
    """`torch.func._random.key`: the key of the first block of a seed's stream.

    Args:
        seed: in [0, 2**64).
        device: of the key; one on the CPU goes with draws on any device.

    Returns:
        uint64 (seed, 0).
    """
    return torch.tensor((seed, 0), dtype=torch.uint64, device=device)


def split(key: Tensor, num: int = 2) -> Tensor:
    """`torch.func._random.split`: key i is made of the words of the block i behind the one that `key` counts to.

    Args:
        key: uint64 of shape (..., 2).

    Returns:
        uint64 of shape (num, ..., 2).
    """
    if fills_on(key.device):
        keys: Tensor = torch._philox_key_split(key, num)
        return keys
    seed, offset = key.view(torch.int64).unbind(-1)
    number = torch.arange(num, device=key.device).reshape(-1, *(1,) * offset.dim())
    w0, w1, w2, w3 = philox_blocks(seed, offset + number)
    return torch.stack((w0 | (w1 << 32), w2 | (w3 << 32)), -1).view(torch.uint64)


def fold_in(key: Tensor, number: int) -> Tensor:
    """`torch.func._random.fold_in`: what `split` makes of the block `number` behind the one that `key` counts to."""
    if fills_on(key.device):
        folded: Tensor = torch._philox_key_fold_in(key, number)
        return folded
    seed, offset = key.view(torch.int64).unbind(-1)
    return split(torch.stack((seed, offset + number), -1).view(torch.uint64), 1)[0]


_generators = threading.Lock()


def philox_state(generator: torch.Generator, words: int) -> tuple[Tensor, Tensor, Tensor]:
    """`torch.Generator.philox_state`: takes `words` random words from the stream of a CUDA generator.

    Returns:
        (seed, offset, intragraph offset), one int64 number each, the offsets in words. Before torch 2.14 a draw that a
        CUDA graph captures gets 128 random bits for seed and offset, which cost a launch per replay.
    """
    if hasattr(generator, "philox_state"):
        state: tuple[Tensor, Tensor, Tensor] = generator.philox_state(words)
        return state
    none = torch.zeros(1, dtype=torch.int64, device="cpu")
    if torch.cuda.is_current_stream_capturing():
        bits = torch.empty(2, dtype=torch.int64, device=generator.device).random_(-(2**63), None, generator=generator)
        return bits[:1], bits[1:], none
    with _generators:
        seed, offset = generator.initial_seed(), generator.get_offset()
        generator.set_offset(offset + -(-words // 4) * 4)
    signed = seed - 2**64 if seed >= 2**63 else seed
    return torch.tensor([signed], device="cpu"), torch.tensor([offset], device="cpu"), none


def load_cpp(source: str, flags: tuple[str, ...]) -> Any:
    """The loaded library of a C++20 source that uses at::vec, built by Inductor's cache for the vectors of this CPU."""
    # Slow to import, so not before it is needed.
    from torch._inductor import config
    from torch._inductor.codecache import CppCodeCache

    # Inductor asks for C++17 before torch 2.12; of two standards a compiler takes the last. And before 2.14 it compiles
    # every source for vectors.
    asked = inspect.signature(CppCodeCache.load_async).parameters
    vectors = {"needs_vec_isa": True} if "needs_vec_isa" in asked else {}

    def load() -> Any:
        return CppCodeCache.load(source, device_type="cpu", extra_flags=("-std=c++20", *flags), **vectors)

    # Whether compiler and processor know an instruction Inductor finds out by building and running programs, each of
    # which imports torch: a quarter of a minute. The system says what the processor knows; where the compiler does not,
    # the build fails.
    try:
        with config.patch({"cpp.vec_isa_ok": True}):
            return load()
    except Exception:
        return load()
