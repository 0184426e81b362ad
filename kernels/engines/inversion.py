"""Several draws from each row of weights: prefix sums once per row, then a search for each draw.

A race of a row's categories goes over all of them for each draw. Where a row is drawn from more than once, its weights
become whole numbers, in units of a small fraction of the largest one, and the draw of number x below their sum is the
first category at which their running sum exceeds x. Sums of whole numbers are exact, in any order and on any device,
and the numbers come of additions, multiplications and conversions that IEEE 754 defines: every backend draws the same
categories, to the last one.

The largest weight of a row of K categories is 2**s units, s = 62 - ceil(log2(K)); another is rounded down to a whole
unit. So each is off by less than K * 2**-61 of the largest, which is 2**-45 for K = 50,000, besides its rounding in the
compute dtype; what is less than a unit, and so a probability of 0, is never drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..stream.layout import collapse, row_major_strides
from ..stream.noise import compute_dtype
from ..stream.philox import MASK32, philox_blocks
from ..stream.window import Window

# Beyond, an exponential is less than a unit, whatever the number of categories. Far from where numbers are subnormal.
LEAST_LOGIT = -64.0
# log(2) in two parts, the first of which has so few digits that its products by -93 .. 0 are exact.
LN_2 = {torch.float32: (0.693359375, -2.12194440e-4), torch.float64: (0.693147180369123816, 1.90821492927058770e-10)}
# A sum with it is rounded to a whole number.
ROUND = {torch.float32: 1.5 * 2.0**23, torch.float64: 1.5 * 2.0**52}
# The terms of e**r, |r| <= log(2) / 2, that show in the dtype.
TERMS = {torch.float32: 7, torch.float64: 13}


def draws_by_inversion(weights: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether a draw of `shape` from weights of shape `weights`, both (..., K), goes by inversion: part of the stream.

    It does where any row of weights is drawn from more than once. One draw of a row is a race: it reads the weights
    once and makes no table. From two on, the race is the slower one wherever K is large.
    """
    if len(weights) == len(shape):
        return tuple(weights) != tuple(shape)
    return math.prod(weights[:-1]) < math.prod(shape[:-1])


def unit_bits(k: int) -> int:
    """s: the largest of k weights is 2**s units, so that all together are at most 2**62."""
    return 62 - (k - 1).bit_length()


def running_sums(weights: Tensor, from_probs: bool) -> Tensor:
    """The running sums of each row's weights, in units: int64 of the weights' shape.

    NaN and negative probabilities count as 0. A row without any weight gets all of it at category 0.
    """
    w = weights.to(compute_dtype(weights.dtype))
    top = torch.where(w.isnan(), -math.inf, w).amax(-1, keepdim=True)
    if from_probs:
        ratio = torch.where(w == top, 1.0, w / top)
        units = ratio * 2.0 ** unit_bits(w.shape[-1])
        exists = (w > 0) & (top > 0)
    else:
        units = _exponential(torch.where(w == top, 0.0, w - top), unit_bits(w.shape[-1]))
        exists = w > -math.inf
    sums = torch.where(exists, units, 0.0).to(torch.int64).cumsum(-1)
    return torch.where(sums[..., -1:] == 0, 1, sums)


def _exponential(x: Tensor, bits: int) -> Tensor:
    """2**bits e**x, x <= 0, without a fused operation: the same on every device. 0 or some number below 1 for NaN."""
    x = torch.where(x > LEAST_LOGIT, x, LEAST_LOGIT)
    high, low = LN_2[x.dtype]
    power = (x * (1 / math.log(2)) + ROUND[x.dtype]) - ROUND[x.dtype]
    r = (x - power * high) - power * low
    result = torch.full_like(r, 1 / math.factorial(TERMS[x.dtype]))
    for i in range(TERMS[x.dtype] - 1, -1, -1):
        result = result * r + 1 / math.factorial(i)
    exponent = power.to(torch.int64) + bits
    scale = (
        ((exponent + 127) << 23).to(torch.int32).view(torch.float32)
        if x.dtype == torch.float32
        else ((exponent + 1023) << 52).view(torch.float64)
    )
    return result * scale


def numbers_of(batch: Sequence[int], window: Window | None, device: torch.device) -> Tensor:
    """The numbers of the draws of a batch in the whole sample, less that of the first draw of the key's first block.

    Args:
        window: of a box: whether its first draw is the second of a block, then the steps along its dimensions.
    """
    if window is None:
        return torch.arange(math.prod(batch), device=device).reshape(tuple(batch))
    lead, *strides = window.strides
    numbers = torch.full((), lead, dtype=torch.int64, device=device)
    for size, stride in zip(batch, strides, strict=True):
        numbers = numbers.unsqueeze(-1) + torch.arange(size, device=device) * stride
    return numbers


@dataclass(frozen=True)
class Walk:
    """The dimensions of a batch of draws, the fewest that step evenly, outermost first.

    Attributes:
        sizes: of them.
        weights, out, numbers: the steps along them in the weights, 0 where draws share a row; in the sample of the
            batch; and in the numbers of the draws.
        lead: the number of the first draw.
    """

    sizes: list[int]
    weights: list[int]
    out: list[int]
    numbers: list[int]
    lead: int

    def over_rows(self) -> list[tuple[int, int, int, int]]:
        """The dimensions over rows of weights: (size, steps in weights, sample and numbers) of each."""
        return [dim for dim in self._dims() if dim[1] != 0]

    def over_draws(self) -> list[tuple[int, int, int, int]]:
        """The dimensions over draws from the same row."""
        return [dim for dim in self._dims() if dim[1] == 0]

    def _dims(self) -> list[tuple[int, int, int, int]]:
        return list(zip(self.sizes, self.weights, self.out, self.numbers, strict=True))


def describe_walk(shape: Sequence[int], given: Sequence[int], strides: Sequence[int], window: Window | None) -> Walk:
    """The walk over a batch of draws of `shape` from weights of shape `given` and strides `strides`, all (..., K)."""
    batch = shape[:-1]
    steps = [0] * (len(shape) - len(given)) + [0 if size == 1 else s for size, s in zip(given, strides, strict=True)]
    lead, *numbers = (0, *row_major_strides(batch)) if window is None else window.strides
    sizes, (weights, out, numbers) = collapse(batch, [steps[:-1], row_major_strides(batch), numbers])
    return Walk(sizes, weights, out, numbers, lead)


def draw(
    key: Tensor, weights: Tensor, shape: Sequence[int], *, from_probs: bool, window: Window | None = None
) -> Tensor:
    """The category of each draw, int64 of shape `shape[:-1]`: the specification of the other backends.

    Draw i takes the first or the last two words, as i is even or odd, of block i // 2, for a number u of 64 bits, the
    high word first. Of a sum of T units it draws x = floor(u T / 2**64).

    Args:
        key: a packed key, uint64.
        weights: logits or, where `from_probs`, probabilities; unnormalised, of shape (..., K) that broadcasts to
            `shape`, of any floating dtype.
        window: see :func:`numbers_of`.
    """
    *batch, k = shape
    sums = running_sums(weights, from_probs)
    given = weights.shape[:-1]
    first = torch.arange(math.prod(given), device=weights.device).reshape(given).expand(batch) * k
    sums = sums.reshape(-1)
    key = key.to(weights.device).view(torch.int64)
    number = numbers_of(batch, window, weights.device)
    w0, w1, w2, w3 = philox_blocks(key[0], key[1] + (number >> 1))
    odd = number & 1 == 1
    x = _high_product(torch.where(odd, w2, w0), torch.where(odd, w3, w1), sums[first + k - 1])
    at, length = first, k
    while length > 1:
        half = length // 2
        at = torch.where(sums[at + (half - 1)] <= x, at + half, at)
        length -= half
    return at - first


def _high_product(high: Tensor, low: Tensor, total: Tensor) -> Tensor:
    """floor(u total / 2**64) of u = 2**32 high + low and total below 2**63. int64 holds unsigned bits."""
    total_high, total_low = total >> 32, total & MASK32
    first, second, third = high * total_low, low * total_high, low * total_low
    carried = (first & MASK32) + (second & MASK32) + ((third >> 32) & MASK32)
    return high * total_high + ((first >> 32) & MASK32) + ((second >> 32) & MASK32) + (carried >> 32)
