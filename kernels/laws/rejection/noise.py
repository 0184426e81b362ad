"""Noise whose law depends on parameters, made by rejection.

Element i of a draw has block number offset + i to itself (counter words 0 and 1). Its attempt t of stream s takes the
block whose counter words 2 and 3 are t and s, so that the sample depends on nothing but the key and the element.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...runtime.language import tl, triton
from ...stream.noise import compute_dtype
from ...stream.philox import DEVICE_ROUNDS, Words, philox4x32_words, philox_blocks
from ...stream.window import Window

# The attempt, never reached by a loop, whose words are for what is drawn once per element.
ONCE = 2**32 - 1
DEVICE_ONCE = tl.constexpr(ONCE)


@dataclass(frozen=True)
class Blocks:
    """The Philox blocks of some elements of a draw.

    Attributes:
        seed: int64 0-dim tensor.
        number: int64 tensor, the block number of each element.
    """

    seed: Tensor
    number: Tensor

    @classmethod
    def of_draw(cls, key: Tensor, shape: Sequence[int], device: torch.device, window: Window | None = None) -> Blocks:
        """The blocks of the elements of a draw of `shape` from a packed key, in order."""
        seed, offset = key.to(device).view(torch.int64)
        if window is not None:
            return cls(seed, offset + window.blocks(shape, 1, device).view(-1))
        return cls(seed, offset + torch.arange(math.prod(shape), device=device))

    def words(self, attempt: int, stream: int) -> Words:
        """Four int64 tensors with values in [0, 2**32)."""
        return philox_blocks(self.seed, self.number, attempt, stream)

    def __getitem__(self, chosen: Tensor) -> Blocks:
        return Blocks(self.seed, self.number[chosen])


@dataclass(frozen=True)
class LoopNoise:
    """Noise of a law with parameters: `reference(blocks, *params, dtype)` is the specification, `twin` its Triton code.

    `reference` takes 1-D parameters in the compute dtype and the sample's dtype, and returns `values` tensors like
    them. `device(c0, c1, k0, k1, *params, DTYPE, HARDWARE)` returns a tuple. `name` is that of its C++ struct.
    Where the noise is made of laws, `parts` are these, a law that takes it has as many parameters as `inputs` says, and
    `twin` makes the Triton function of the noise; see :mod:`laws.rejection.law`.
    A law takes the noise as one tensor or, where `values` is more, as a tuple of tensors.
    `slopes(values, *params)` says how the noise moves with parameters at a fixed probability: differentiable torch code
    that gives (number of the value, number of the parameter, derivative) for each pair that counts. None where there is
    no such derivative, and for a noise that is the same whatever the parameters.
    """

    name: str
    values: int
    reference: Callable[..., tuple[Tensor, ...]]
    twin: Any
    slopes: Callable[..., list[tuple[int, int, Tensor]]] | None = None
    inputs: int = 0
    parts: tuple[Any, ...] = ()

    @functools.cached_property
    def device(self) -> Any:
        return self.twin(self) if self.parts else self.twin

    def elements_per_block(self, dtype: torch.dtype) -> int:
        return 1


def _no_noise(blocks: Blocks, *params_and_dtype: Any) -> tuple[Tensor, ...]:
    return (torch.zeros_like(params_and_dtype[0]),)


@triton.jit
def _no_noise_device(c0, c1, k0, k1, p, q, r, s, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    return (p,)


# For a law of four parameters whose gradient is a function of these alone.
NOTHING = LoopNoise("nothing", 1, _no_noise, _no_noise_device)


def loop_noise(
    kind: LoopNoise,
    key: Tensor,
    params: Sequence[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    window: Window | None = None,
) -> Any:
    """The noise of a draw of `shape`, as a law takes it, in the compute dtype; `params` broadcast to `shape`."""
    shape = torch.Size(shape)
    given = [p.expand(shape).reshape(-1).to(compute_dtype(dtype)) for p in params]
    values = kind.reference(Blocks.of_draw(key, shape, given[0].device, window), *given, dtype)
    shaped = tuple(x.view(shape) for x in values)
    return shaped if kind.values > 1 else shaped[0]


@triton.jit
def attempt_words(c0, c1, t, STREAM: tl.constexpr, k0, k1, HARDWARE: tl.constexpr):
    """The four words of each lane's attempt t."""
    return philox4x32_words(c0, c1, t, tl.full((), STREAM, tl.uint32), k0, k1, DEVICE_ROUNDS, HARDWARE)


@triton.jit
def any_of(pending):
    """Whether a loop has to go on: for any lane of the program."""
    return tl.max(pending.to(tl.int32), 0) > 0
