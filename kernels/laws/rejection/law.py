"""Laws that are drawn by rejection, each one description in torch code.

A block of an element holds one or two candidates (x, u); the first one that is not rejected makes the element's value.
The loops over the elements that have none yet are written once a backend: in torch here, in Triton in device.py, which
makes the Triton functions of a law, too, and in C++ in loops.h, for which cpp_code.py makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...stream.noise import (
    EXPONENTIAL,
    centered_of_element,
    compute_dtype,
    exponential_of_element,
    normal_from_words,
    open_unit,
    signed32,
    signed64,
)
from .device import made
from .noise import ONCE, Blocks, LoopNoise


def normal_candidates(blocks: Blocks, attempt: int, stream: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Two pairs of a standard normal and a uniform number in (0, 1); in float64 of two streams."""
    words = blocks.words(attempt, stream)
    normals = normal_from_words(words, dtype)[:2]
    if compute_dtype(dtype) == torch.float32:
        return [(x, open_unit(u, u, dtype)) for x, u in zip(normals, words[2:], strict=True)]
    more = blocks.words(attempt, stream + 1)
    return [(x, open_unit(more[i], more[i + 1], dtype)) for x, i in zip(normals, (0, 2), strict=True)]


def centered_candidates(blocks: Blocks, attempt: int, stream: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Two pairs of numbers (in float64 one), uniform in (-1/2, 1/2) and (0, 1)."""
    words = blocks.words(attempt, stream)
    if compute_dtype(dtype) == torch.float32:
        return [(centered_of_element(signed32(x), dtype), open_unit(u, u, dtype)) for x, u in (words[:2], words[2:])]
    return [(centered_of_element(signed64(words[0], words[1]), dtype), open_unit(words[2], words[3], dtype))]


class Arrivals(NamedTuple):
    """How those elements of a law of counts are drawn that count few arrivals.

    Attributes:
        few: `(*given) -> mask`.
        step: `(exponentials, time, count, *given) -> (time, count, goes on)`, of the standard exponentials of a block.
    """

    few: Callable[..., Tensor]
    step: Callable[..., tuple[Tensor, Tensor, Tensor]]


class Once(NamedTuple):
    """What some elements take one more standard exponential for.

    Attributes:
        some: `(*given) -> mask`.
        finish: `(exponential, value, *given)`, their results.
    """

    some: Callable[..., Tensor]
    finish: Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class RejectionLaw:
    """A law that is drawn by rejection; its functions are straight-line torch code on 1-D tensors.

    Attributes:
        name: names its functions in Triton and in C++.
        parameters: how many there are.
        setup: `(*parameters) -> given`, a tuple of what the functions below read.
        candidates: what a block's words make.
        attempt: `(x, u, *given) -> (value, rejected)` of a candidate. Nothing is rejected for NaN, so that a loop ends
            whatever its parameters.
        finish: `(value, *given) -> results`, a tuple; without it the value is the only result.
        squeeze: `(x, u, *given) -> (value, doubtful)`, cheaper than an attempt, which need not be made where nothing is
            doubtful: it would reject none of that. A GPU asks it of a block's first candidate.
        attempt_on_gpu: what is better on a GPU than `attempt`.
        arrivals: another way for elements that count few.
        once: of elements that finish otherwise.
    """

    name: str
    parameters: int
    setup: Callable[..., tuple[Tensor, ...]]
    candidates: Callable[..., list[tuple[Tensor, Tensor]]]
    attempt: Callable[..., tuple[Tensor, Tensor]]
    finish: Callable[..., tuple[Tensor, ...]] | None = None
    squeeze: Callable[..., tuple[Tensor, Tensor]] | None = None
    attempt_on_gpu: Callable[..., tuple[Tensor, Tensor]] | None = None
    arrivals: Arrivals | None = None
    once: Once | None = None

    def drawn(self, blocks: Blocks, parameters: Sequence[Tensor], dtype: torch.dtype, stream: int = 0) -> Any:
        """The results of each element, a tuple."""
        given = self.setup(*parameters)
        value = torch.zeros_like(given[0])
        rejecting = torch.ones_like(value, dtype=torch.bool)
        if self.arrivals is not None:
            few = self.arrivals.few(*given)
            rejecting = torch.logical_not(few)
            _count(self.arrivals, value, few, blocks, given, dtype, stream)
        pending, attempt = rejecting.nonzero().squeeze(1), 0
        while pending.numel() > 0:
            own = [x[pending] for x in given]
            again = torch.ones_like(pending, dtype=torch.bool)
            for x, u in self.candidates(blocks[pending], attempt, stream, dtype):
                proposed, rejected = self.attempt(x, u, *own)
                value[pending] = torch.where(again, proposed, value[pending])
                again &= rejected
            pending = pending[again]
            attempt += 1
        results = (value,) if self.finish is None else self.finish(value, *given)
        if self.once is None:
            return results
        words = blocks.words(ONCE, stream)
        narrow = compute_dtype(dtype) == torch.float32
        e = exponential_of_element(signed32(words[0]) if narrow else signed64(words[0], words[1]), dtype)
        some, others = self.once.some(*given), self.once.finish(e, value, *given)
        return tuple(torch.where(some, x, y) for x, y in zip(others, results, strict=True))


def _count(
    arrivals: Arrivals,
    count: Tensor,
    few: Tensor,
    blocks: Blocks,
    given: Sequence[Tensor],
    dtype: torch.dtype,
    stream: int,
) -> None:
    """Writes the counts of the elements with few arrivals."""
    elapsed = torch.zeros_like(count)
    pending, attempt = few.nonzero().squeeze(1), 0
    while pending.numel() > 0:
        e = EXPONENTIAL.from_words(blocks[pending].words(attempt, stream), dtype)
        time, arrived, again = arrivals.step(e, elapsed[pending], count[pending], *(x[pending] for x in given))
        elapsed[pending], count[pending] = time, arrived
        pending = pending[again]
        attempt += 1


class Part(NamedTuple):
    """A law in a noise.

    Attributes:
        parameters: `(results of the parts before, *parameters of a law) -> parameters of this one`, a tuple.
        stream: the first of the law's.
    """

    law: RejectionLaw
    parameters: Callable[..., tuple[Tensor, ...]]
    stream: int = 0


def first_of(_: tuple[Tensor, ...], first: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """The first parameter of a law, as a `Part` takes it."""
    return (first,)


def second_of(_: tuple[Tensor, ...], first: Tensor, second: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    return (second,)


def noise_of(name: str, inputs: int, *parts: Part, values: int, slopes: Any = None) -> LoopNoise:
    """Noise that is drawn by laws, one after the other.

    Args:
        inputs: how many parameters a law has that takes it.
        values: how many of the results of all parts it is, the last ones.
    """

    def reference(blocks: Blocks, *params_and_dtype: Any) -> tuple[Tensor, ...]:
        *params, dtype = params_and_dtype
        results: tuple[Tensor, ...] = ()
        for part in parts:
            results += part.law.drawn(blocks, part.parameters(results, *params), dtype, part.stream)
        return results[-values:]

    return LoopNoise(name, values, reference, made, slopes=slopes, inputs=inputs, parts=parts)
