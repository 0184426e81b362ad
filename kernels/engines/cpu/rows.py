"""Draws over rows on the CPU, compiled: `race.h` and others, built for one dtype of the weights at first use.

The race of a row's categories, several draws from each row and the scores of relaxed draws are libraries of their own,
so that a first draw waits for what it needs. They are built and kept as the elementwise loops are
(:mod:`engines.cpu.elementwise`). Where one cannot be built, one warning is given and the reference runs instead, for
the life of the process.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...runtime.backend import CPU
from ...runtime.hugepages import empty
from ...stream.layout import collapse
from ...stream.noise import SIGNIFICAND_BITS, compute_dtype
from ...stream.window import Window
from ..eager import rows as reference
from ..inversion import describe_walk
from . import cpp

_CPP_TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.bfloat16: "rsample::BFloat16",
    torch.float16: "rsample::Half",
}

_functions: dict[tuple[str, torch.dtype], Any] = {}  # None: could not be built


def available(dtype: torch.dtype) -> bool:
    """Whether draws from weights of `dtype` run compiled here; builds their libraries if that is still to be seen."""
    return all(_function(name, dtype) is not None for name in _DRAWS)


def gradients_available(compute: torch.dtype) -> bool:
    """Whether gradients computed in a dtype run compiled here; builds their library if that is still to be seen."""
    return _gradients(compute) is not None


def address(name: str, dtype: torch.dtype) -> int:
    """Where a function for weights of `dtype` lies, 0 where it cannot be built.

    Args:
        name: race, inversion, relaxed_scores, relaxed_gradient or probs_gradient.
    """
    if dtype not in _CPP_TYPES:
        return 0
    function: Any = _function(name, dtype) if name in _DRAWS else getattr(_gradients(compute_dtype(dtype)), name, None)
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def walk(weights: Tensor, shape: Sequence[int]) -> list[int]:
    """The dimensions of a whole batch of draws of several from each row, as `inversion` takes them."""
    return list(_dimensions(tuple(shape), tuple(weights.shape), weights.stride(), None)[1])


def race(
    key: Tensor, weights: Tensor, shape: Sequence[int], *, from_probs: bool, one_hot: bool, log_prob: bool
) -> list[Tensor]:
    """A category for each row; as :func:`engines.eager.rows.race`."""
    *batch, k = shape
    dtype, rows = weights.dtype, math.prod(batch)
    run = _function("race", dtype) if rows * k > 0 else None
    if run is None:
        return reference.race(key, weights, shape, from_probs=from_probs, one_hot=one_hot, log_prob=log_prob)
    weights = _rows_in_order(weights)
    index = empty(batch, torch.int64)
    sample = empty(shape, dtype) if one_hot else None
    log_total = empty(batch, compute_dtype(dtype)) if log_prob else None
    run(
        *_row_arguments(weights, shape),
        *_draw_arguments(key, rows, k),
        from_probs,
        index.data_ptr(),
        0 if sample is None else sample.data_ptr(),
        0 if log_total is None else log_total.data_ptr(),
    )
    outputs = [index if sample is None else sample]
    if log_total is not None:
        own = reference.of_categories(weights, index).to(log_total.dtype)
        if from_probs:
            eps = 2.0 ** (1 - SIGNIFICAND_BITS[dtype])
            own = (own / log_total.exp()).clamp_(eps, 1 - eps).log_()
        else:
            own = own - log_total
        outputs.append(own.to(dtype))
    return outputs


def inversion(
    key: Tensor,
    weights: Tensor,
    shape: Sequence[int],
    *,
    from_probs: bool,
    one_hot: bool,
    log_prob: bool,
    window: Window | None = None,
) -> list[Tensor]:
    """Several draws from each row; as :func:`engines.eager.rows.inversion`."""
    run = _function("inversion", weights.dtype) if 0 not in shape else None
    if run is None:
        return reference.inversion(
            key, weights, shape, from_probs=from_probs, one_hot=one_hot, log_prob=log_prob, window=window
        )
    weights = _rows_in_order(weights)
    batch, dimensions = _dimensions(tuple(shape), weights.shape, weights.stride(), window)
    index = empty(batch, torch.int64)
    key = key if key.is_contiguous() else key.contiguous()
    run(weights.data_ptr(), dimensions, key.data_ptr(), from_probs, index.data_ptr())
    if not (one_hot or log_prob):
        return [index]
    return reference.outputs_of(index, weights, shape, from_probs=from_probs, one_hot=one_hot, log_prob=log_prob)


@functools.lru_cache(maxsize=256)
def _dimensions(
    shape: tuple[int, ...], given: tuple[int, ...], strides: tuple[int, ...], window: Window | None
) -> tuple[tuple[int, ...], Any]:
    """A batch's shape; and K, the batch's lead and its dimensions, those over rows first, as `inversion` takes them."""
    walk = describe_walk(shape, given, strides, window)
    packed = [shape[-1], walk.lead]
    for dims in (walk.over_rows(), walk.over_draws()):
        packed += [len(dims), *(number for operand in zip(*dims, strict=True) for number in operand)]
    return tuple(shape[:-1]), (ctypes.c_int64 * len(packed))(*packed)


def relaxed(
    key: Tensor, logits: Tensor, temperature: Tensor, shape: Sequence[int], *, exponentiated: bool, log_prob: bool
) -> list[Tensor]:
    """A point of the simplex, or its logarithm, for each row; as :func:`engines.eager.rows.relaxed`."""
    *batch, k = shape
    dtype, rows = logits.dtype, math.prod(batch)
    run = _function("relaxed_scores", dtype) if rows * k > 0 else None
    if run is None:
        return reference.relaxed(key, logits, temperature, shape, exponentiated=exponentiated, log_prob=log_prob)
    logits = _rows_in_order(logits)
    scores = empty(shape, compute_dtype(dtype))
    sums = torch.zeros(2, *batch, dtype=torch.float64, device=CPU) if log_prob else None
    run(
        *_row_arguments(logits, shape),
        *_draw_arguments(key, rows, k),
        float(temperature),
        scores.data_ptr(),
        0 if sums is None else sums[0].data_ptr(),
        0 if sums is None else sums[1].data_ptr(),
    )
    x = scores.log_softmax(-1) if not exponentiated or log_prob else None
    if exponentiated:
        sample = scores.softmax(-1)
    else:
        assert x is not None
        sample = x
    outputs = [sample.to(dtype)]
    if sums is not None:
        density = reference.log_density_of_times(sums[0], sums[1], k, temperature.to(torch.float64).reshape(()))
        if exponentiated:
            assert x is not None
            density = density - x.sum(-1)
        outputs.append(density.to(dtype))
    return outputs


def relaxed_gradient(
    sample: Tensor,
    grad: Tensor,
    temperature: Tensor,
    *,
    exponentiated: bool,
    of_temperature: bool,
) -> tuple[Tensor, Tensor | None]:
    """The gradients of a relaxed draw's logits, before any sum over rows, and of its temperature, for the sample's.

    All tensors are of a dtype to compute in, whose :func:`gradients_available`.
    """
    sample, grad = sample.contiguous(), grad.contiguous()
    result, moved = empty(sample.shape, sample.dtype), ctypes.c_double()
    k = sample.shape[-1]
    _gradients(sample.dtype).relaxed_gradient(
        *(sample.data_ptr(), grad.data_ptr(), sample.numel() // k, k, float(temperature), exponentiated),
        *(result.data_ptr(), ctypes.byref(moved) if of_temperature else None),
    )
    if not of_temperature:
        return result, None
    return result, torch.tensor(moved.value, dtype=sample.dtype, device=CPU)


def probs_gradient(weights: Tensor, grad: Tensor, *, from_probs: bool) -> Tensor:
    """The gradient of probabilities or logits for that of the normalised ones, of one shape, and dtypes as there."""
    weights, grad = weights.contiguous(), grad.contiguous()
    result, k = empty(weights.shape, weights.dtype), weights.shape[-1]
    _gradients(weights.dtype).probs_gradient(
        weights.data_ptr(), grad.data_ptr(), weights.numel() // k, k, from_probs, result.data_ptr()
    )
    return result


def _rows_in_order(weights: Tensor) -> Tensor:
    """Weights whose categories lie side by side; a copy only where they do not, and never of the draw's size."""
    return weights if weights.shape[-1] == 1 or weights.stride(-1) == 1 else weights.contiguous()


def _row_arguments(weights: Tensor, shape: Sequence[int]) -> tuple[Any, ...]:
    sizes, (strides,) = collapse(shape[:-1], [weights.expand(tuple(shape)).stride()[:-1]])
    if not sizes:
        sizes, strides = [1], [0]
    rank = len(sizes)
    array = ctypes.c_int64 * rank
    return weights.data_ptr(), rank, array(*sizes), array(*strides)


def _draw_arguments(key: Tensor, rows: int, k: int) -> tuple[int, ...]:
    seed, offset = key.view(torch.int64).tolist()
    return rows, k, seed, offset


# ------------------------------------------------------------------------------------------------------------ building


def _function(name: str, dtype: torch.dtype) -> Any:
    """The function of a library for weights of `dtype`, or None where it cannot be built, which is tried once."""
    return cpp.once(_functions, (name, dtype), _build, name, dtype)


def _build(name: str, dtype: torch.dtype) -> Any:
    library = cpp.build(_source(dtype, name), "draws", dtype if dtype in cpp.TYPES else None)
    if library is None:
        return None
    function: Any = getattr(library, name)
    function.restype, function.argtypes = None, _DRAWS[name].argtypes
    return function


@functools.cache
def _gradients(compute: torch.dtype) -> Any:
    """The library of gradients in a dtype, or None where it cannot be built."""
    library = cpp.build(_gradient_source(compute), "draws", compute) if cpp.compiler_works() else None
    if library is not None:
        rows = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        library.relaxed_gradient.restype = library.probs_gradient.restype = None
        library.relaxed_gradient.argtypes = (*rows, ctypes.c_double, ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)
        library.probs_gradient.argtypes = (*rows, ctypes.c_bool, ctypes.c_void_p)
    return library


def _source(dtype: torch.dtype, name: str) -> str:
    weight, compute = _CPP_TYPES[dtype], _CPP_TYPES[compute_dtype(dtype)]
    return f"""{cpp.headers(*_DRAWS[name].headers)}
using Weight = {weight};
using Compute = {compute};

{_DRAWS[name].exported}"""


class _Exported(NamedTuple):
    """A function of a library of its own."""

    headers: tuple[str, ...]
    argtypes: tuple[Any, ...]
    exported: str  # its definition


_ROWS = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)  # data, rank, sizes, strides
_DRAW = (ctypes.c_int64, ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint64)  # rows, k, seed, offset

_DRAWS = {
    "race": _Exported(
        ("race.h",),
        (*_ROWS, *_DRAW, ctypes.c_bool, *(ctypes.c_void_p,) * 3),
        """
extern "C" void race(const Weight* data, std::int64_t rank, const std::int64_t* sizes, const std::int64_t* strides,
                     std::int64_t rows, std::int64_t k, std::uint64_t seed, std::uint64_t offset, bool from_probs,
                     std::int64_t* index, Weight* one_hot, Compute* log_total) {
  rsample::race<Weight, Compute>({data, rank, sizes, strides}, rows, k, seed, offset, from_probs, index, one_hot,
                                 log_total);
}
""",
    ),
    "inversion": _Exported(
        ("race.h", "inversion.h"),
        (*(ctypes.c_void_p,) * 3, ctypes.c_bool, ctypes.c_void_p),
        """
extern "C" void inversion(const Weight* data, const std::int64_t* dimensions, const std::uint64_t* key, bool from_probs,
                          std::int64_t* index) {
  const std::int64_t k = *dimensions++, lead = *dimensions++;
  const std::int64_t rank = *dimensions++;
  const rsample::Dimensions rows{rank, dimensions, dimensions + rank, dimensions + 2 * rank, dimensions + 3 * rank};
  dimensions += 4 * rank;
  const std::int64_t inner = *dimensions++;
  const rsample::Dimensions draws{inner, dimensions, dimensions + inner, dimensions + 2 * inner,
                                  dimensions + 3 * inner};
  rsample::inversion<Weight, Compute>(data, k, rows, draws, key[0], key[1], lead, from_probs, index);
}
""",
    ),
    "relaxed_scores": _Exported(
        ("race.h",),
        (*_ROWS, *_DRAW, ctypes.c_double, *(ctypes.c_void_p,) * 3),
        """
extern "C" void relaxed_scores(const Weight* data, std::int64_t rank, const std::int64_t* sizes,
                               const std::int64_t* strides, std::int64_t rows, std::int64_t k, std::uint64_t seed,
                               std::uint64_t offset, double temperature, Compute* scores, double* sums_of_logs,
                               double* totals) {
  rsample::relaxed_scores<Weight, Compute>({data, rank, sizes, strides}, rows, k, seed, offset, temperature, scores,
                                           sums_of_logs, totals);
}
""",
    ),
}


def _gradient_source(compute: torch.dtype) -> str:
    return f"""{cpp.headers("gradients.h")}
using Compute = {cpp.TYPES[compute]};

extern "C" void relaxed_gradient(const Compute* samples, const Compute* grads, std::int64_t rows, std::int64_t k,
                                 double temperature, bool exponentiated, Compute* results, double* of_temperature) {{
  const auto run = exponentiated ? rsample::relaxed_gradient<Compute, true> : rsample::relaxed_gradient<Compute, false>;
  run(samples, grads, rows, k, temperature, results, of_temperature);
}}

extern "C" void probs_gradient(const Compute* weights, const Compute* grads, std::int64_t rows, std::int64_t k,
                               bool from_probs, Compute* results) {{
  const auto run = from_probs ? rsample::probs_gradient<Compute, true> : rsample::probs_gradient<Compute, false>;
  run(weights, grads, rows, k, results);
}}
"""


cpp.AHEAD += [functools.partial(_source, name=name) for name in _DRAWS]
cpp.GRADIENTS_AHEAD.append(_gradient_source)
