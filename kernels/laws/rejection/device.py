"""Laws on a GPU: the loops over the lanes of a program, and the Triton functions that are made of torch code."""

# Names in capitals are compile-time constants, not Yoda's.
# ruff: noqa: SIM300
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...formula.device_functions import definition, loaded, module_of
from ...formula.devicemath import exponential_of_centered
from ...formula.trace import traced
from ...runtime.language import tl, triton
from ...stream.noise import EXPONENTIAL, NORMAL, box_muller, centered_of_words, elements_per_block, open_unit_device
from .noise import DEVICE_ONCE, LoopNoise, any_of, attempt_words

_exponential_device = EXPONENTIAL.device
_normal_device = NORMAL.device


@triton.jit
def normal_candidates(c0, c1, t, STREAM: tl.constexpr, k0, k1, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    """x, u of the first candidate, and of the second."""
    w0, w1, w2, w3 = attempt_words(c0, c1, t, STREAM, k0, k1, HARDWARE)
    if DTYPE == tl.float64:
        first, second = _normal_device(w0, w1, w2, w3, DTYPE, HARDWARE)
        w0, w1, w2, w3 = attempt_words(c0, c1, t, STREAM + 1, k0, k1, HARDWARE)
        return first, open_unit_device(w0, w1, DTYPE), second, open_unit_device(w2, w3, DTYPE)
    else:
        first, second = box_muller(w0, w1, HARDWARE)
        return first, open_unit_device(w2, w2, DTYPE), second, open_unit_device(w3, w3, DTYPE)


@triton.jit
def centered_candidates(c0, c1, t, STREAM: tl.constexpr, k0, k1, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    w0, w1, w2, w3 = attempt_words(c0, c1, t, STREAM, k0, k1, HARDWARE)
    if DTYPE == tl.float64:
        return centered_of_words(w0, w1, DTYPE), open_unit_device(w2, w3, DTYPE)
    else:
        return (
            centered_of_words(w0, w0, DTYPE),
            open_unit_device(w1, w1, DTYPE),
            centered_of_words(w2, w2, DTYPE),
            open_unit_device(w3, w3, DTYPE),
        )


@triton.jit
def rejection(
    pending,
    given,
    CANDIDATES: tl.constexpr,
    SQUEEZE: tl.constexpr,
    ATTEMPT: tl.constexpr,
    c0,
    c1,
    k0,
    k1,
    STREAM: tl.constexpr,
    DTYPE: tl.constexpr,
    HARDWARE: tl.constexpr,
):
    """The value of each lane that is pending; SQUEEZE may be None."""
    value = tl.zeros_like(given[0])
    t = tl.full((), 0, tl.uint32)
    while any_of(pending):
        candidates = CANDIDATES(c0, c1, t, STREAM, k0, k1, DTYPE, HARDWARE)
        if SQUEEZE is None:
            for j in tl.static_range(0, len(candidates), 2):
                x, rejected = ATTEMPT(candidates[j], candidates[j + 1], *given, HARDWARE)
                value = tl.where(pending, x, value)
                pending = pending & rejected
        else:
            x, doubtful = SQUEEZE(candidates[0], candidates[1], *given, HARDWARE)
            value = tl.where(pending, x, value)
            pending = pending & doubtful
            if any_of(pending):
                x, rejected = ATTEMPT(candidates[0], candidates[1], *given, HARDWARE)
                pending = pending & rejected
                for j in tl.static_range(2, len(candidates), 2):
                    x, rejected = ATTEMPT(candidates[j], candidates[j + 1], *given, HARDWARE)
                    value = tl.where(pending, x, value)
                    pending = pending & rejected
        t += 1
    return value


@triton.jit
def arrivals(
    pending,
    given,
    STEP: tl.constexpr,
    c0,
    c1,
    k0,
    k1,
    STREAM: tl.constexpr,
    DTYPE: tl.constexpr,
    HARDWARE: tl.constexpr,
):
    """The count of each lane that is pending."""
    count = tl.zeros_like(given[0])
    time = tl.zeros_like(given[0])
    t = tl.full((), 0, tl.uint32)
    while any_of(pending):
        w0, w1, w2, w3 = attempt_words(c0, c1, t, STREAM, k0, k1, HARDWARE)
        e = _exponential_device(w0, w1, w2, w3, DTYPE, HARDWARE)
        time, count, again = STEP(e, time, count, *given, HARDWARE)
        pending = pending & again
        t += 1
    return count


@triton.jit
def exponential_once(c0, c1, k0, k1, STREAM: tl.constexpr, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    w0, w1, _, _ = attempt_words(c0, c1, tl.full((), DEVICE_ONCE, tl.uint32), STREAM, k0, k1, HARDWARE)
    return exponential_of_centered(centered_of_words(w0, w1, DTYPE), False, HARDWARE)


def made(noise: LoopNoise) -> Any:
    """The Triton function of a noise that is made of laws."""
    name = f"{noise.name}_noise_of_{noise.inputs}"
    return loaded(name, source(noise, name))


def source(noise: LoopNoise, name: str) -> str:
    """The text of its module: each law's functions, and one that calls them in the loops above."""
    parameters = [f"p{i}" for i in range(noise.inputs)]
    functions: dict[str, list[str]] = {}
    results: list[str] = []
    arguments = ", ".join(("c0", "c1", "k0", "k1", *parameters, "DTYPE: tl.constexpr", "HARDWARE: tl.constexpr"))
    lines = [f"def {name}({arguments}):"]
    for number, part in enumerate(noise.parts):
        body, own = _drawn(part, number, parameters, results, functions)
        lines += [f"    {line}" for line in body]
        results += own
    lines.append(f"    return ({', '.join(results[-noise.values :])},)")
    called = "any_of", "arrivals", "centered_candidates", "exponential_once", "normal_candidates", "rejection"
    imports = [f"from rsample.kernels.laws.rejection.device import {', '.join(called)}"]
    return module_of(noise.name, *functions.values(), lines, imports=imports)


def _drawn(
    part: Any, number: int, parameters: Sequence[str], before: Sequence[str], functions: dict[str, list[str]]
) -> tuple[list[str], list[str]]:
    """The lines that draw one part, and the names of its results; adds the functions that they call to `functions`.

    Args:
        before: the results of the parts before.
    """
    law = part.law

    def define(what: str, function: Callable[..., Any], *arguments: str, values: Any = lambda _: 1) -> str:
        name = f"{law.name}_{what}"
        functions[name] = definition(name, function, arguments, values=values)
        return name

    def setup(*values: Any) -> Any:
        return law.setup(*part.parameters(values[len(parameters) :], *values[: len(parameters)]))

    arguments = [*parameters, *before]
    given = [f"g{i}" for i in range(_results(setup, len(arguments)))]
    squeeze = None if law.squeeze is None else define("squeeze", law.squeeze, "x", "u", *given)
    attempt = define("attempt", law.attempt_on_gpu or law.attempt, "x", "u", *given)
    ways = f"{law.candidates.__name__}, {squeeze}, {attempt}"
    stream = f"c0, c1, k0, k1, {part.stream}, DTYPE, HARDWARE"
    value = f"value{number}"
    lines = [f"given = {define(f'setup_{number}', setup, *arguments)}({', '.join(arguments)}, HARDWARE)"]
    if law.arrivals is None:
        lines += [
            f"pending = tl.full({parameters[0]}.shape, 1, tl.int1)",
            f"{value} = rejection(pending, given, {ways}, {stream})",
        ]
    else:
        step = define("step", law.arrivals.step, "e", "time", "count", *given, values=elements_per_block)
        lines += [
            f"few = {define('few', law.arrivals.few, *given)}(*given, HARDWARE)",
            f"count = arrivals(few, given, {step}, {stream})",
            f"{value} = tl.where(few, count, rejection(~few, given, {ways}, {stream}))",
        ]
    if law.finish is None:
        return lines, [value]
    own = [f"result{number}_{i}" for i in range(_results(law.finish, 1 + len(given)))]
    lines += [
        f"results = {define('finish', law.finish, 'value', *given)}({value}, *given, HARDWARE)",
        *(f"{result} = results[{i}]" for i, result in enumerate(own)),
    ]
    if law.once is not None:
        once = define("once", law.once.finish, "e", "value", *given)
        lines += [
            f"some = {define('some', law.once.some, *given)}(*given, HARDWARE)",
            "if any_of(some):",
            f"    others = {once}(exponential_once({stream}), {value}, *given, HARDWARE)",
            *(f"    {result} = tl.where(some, others[{i}], {result})" for i, result in enumerate(own)),
        ]
    return lines, own


def _results(function: Callable[..., Any], arguments: int) -> int:
    return len(traced(lambda *values: function(*values), arguments - 1, torch.float32).results)
