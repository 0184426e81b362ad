"""Von Mises noise: q = tan(x / 2) for an angle x of the von Mises law around 0.

Source: Best and Fisher, "Efficient simulation of the von Mises distribution" (1979). Their proposal, a wrapped Cauchy
law, is q = s e with e standard Cauchy; it is taken with probability c exp(1 - c), c = concentration * (r - cos x).
Everything is put so that nothing cancels, at small concentrations or large ones. A block holds two attempts in float32.
"""

# Names in capitals are compile-time constants, not Yoda's.
# ruff: noqa: SIM300
from __future__ import annotations

import torch
from torch import Tensor

from ..cotangent import cotangent, cotangent_device
from ..devicemath import divide, exp
from ..language import tl, triton
from ..noise import (
    centered_of_element,
    centered_of_words,
    compute_dtype,
    open_unit,
    open_unit_device,
    signed32,
    signed64,
)
from .noise import Blocks, any_of, attempt_words

# Beyond it root is twice the concentration to rounding, and its square would overflow.
_STEEP = 1e15
# Beyond it, where angles are below 1e-17, float32 overflows.
_STEEPEST = 1e36


def _proposal(concentration: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(s, concentration * (r - 1), 2 * concentration)."""
    twice = 2 * torch.clamp(concentration, 0.0, _STEEPEST)
    steep = twice > 2 * _STEEP
    gentle = torch.where(steep, 0.0, twice)
    root = torch.where(steep, twice, torch.sqrt(1 + gentle * gentle))
    further = torch.sqrt(2 * (1 + root))
    total = 1 + root + further
    rho = twice / total
    s = (1 + further + 1 / (root + twice)) / (total + twice)
    distance = s * (1 + rho)  # 1 - rho
    return s, distance * distance * total / 4, twice


def von_mises_noise(blocks: Blocks, concentration: Tensor, dtype: torch.dtype) -> Tensor:
    """q for each element."""
    s, base, twice = _proposal(concentration)
    q = torch.empty_like(s)
    pending, attempt = torch.arange(q.numel(), device=q.device), 0
    while pending.numel() > 0:
        narrow = compute_dtype(dtype) == torch.float32
        words = blocks[pending].words(attempt, 0)
        rejected = torch.ones(pending.shape, dtype=torch.bool, device=q.device)
        for i in (0, 2):
            # In float64 an attempt takes the whole block.
            if not narrow and i == 2:
                break
            if narrow:
                angle, u = centered_of_element(signed32(words[i]), dtype), open_unit(words[i + 1], words[i + 1], dtype)
            else:
                angle = centered_of_element(signed64(words[0], words[1]), dtype)
                u = open_unit(words[2], words[3], dtype)
            proposed = s[pending] * cotangent(angle)
            q[pending] = torch.where(rejected, proposed, q[pending])
            rejected = rejected & _rejected(proposed, u, base[pending], twice[pending])
        pending = pending[rejected]
        attempt += 1
    return q


def _rejected(q: Tensor, u: Tensor, base: Tensor, twice: Tensor) -> Tensor:
    # 1 - cos x is 2 q**2 / (1 + q**2). False for NaN: a loop ends whatever its parameters.
    c = base + twice / (1 + 1 / (q * q))
    return u > c * torch.exp(1 - c)


@triton.jit
def _rejected_device(q, u, base, twice, HARDWARE: tl.constexpr):
    one = tl.full(q.shape, 1.0, q.dtype)
    c = base + divide(twice, 1.0 + divide(one, q * q, HARDWARE), HARDWARE)
    return u > c * exp(1.0 - c, HARDWARE)


@triton.jit
def von_mises_noise_device(c0, c1, k0, k1, concentration, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    """Device twin of :func:`von_mises_noise`."""
    twice = 2.0 * tl.minimum(concentration, tl.full(concentration.shape, 1e36, concentration.dtype))
    root = tl.where(twice > 2e15, twice, tl.sqrt(1.0 + twice * twice))
    further = tl.sqrt(2.0 * (1.0 + root))
    total = 1.0 + root + further
    s = (1.0 + further + 1.0 / (root + twice)) / (total + twice)
    distance = s * (1.0 + twice / total)
    base = distance * distance * total * 0.25
    q = tl.zeros_like(s)
    pending = tl.full(s.shape, 1, tl.int1)
    t = tl.full((), 0, tl.uint32)
    while any_of(pending):
        w0, w1, w2, w3 = attempt_words(c0, c1, t, 0, k0, k1, HARDWARE)
        if DTYPE == tl.float64:
            u = open_unit_device(w2, w3, DTYPE)
            proposed = s * cotangent_device(centered_of_words(w0, w1, DTYPE), HARDWARE)
            q = tl.where(pending, proposed, q)
            pending = pending & _rejected_device(proposed, u, base, twice, HARDWARE)
        else:
            first = s * cotangent_device(centered_of_words(w0, w0, DTYPE), HARDWARE)
            second = s * cotangent_device(centered_of_words(w2, w2, DTYPE), HARDWARE)
            rejected = _rejected_device(first, open_unit_device(w1, w1, DTYPE), base, twice, HARDWARE)
            q = tl.where(pending, tl.where(rejected, second, first), q)
            u = open_unit_device(w3, w3, DTYPE)
            pending = pending & rejected & _rejected_device(second, u, base, twice, HARDWARE)
        t += 1
    return q
