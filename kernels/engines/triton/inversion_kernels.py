"""Several draws from each row in two launches: one makes tables of running sums, the other searches them.

A row that is long is shared by several programs of the first launch, each of which looks for the largest weight of the
whole row and has running sums of its own; a draw adds the totals of the parts before it looks into one. What a program
adds up are whole numbers: no sample depends on how rows are shared.
"""

# Names in capitals are compile-time constants of Triton's, not Yoda's, and choose what is compiled.
# ruff: noqa: SIM300
from __future__ import annotations

import math

import torch

from ...runtime.language import tl, triton
from ...stream.layout import strided_offset
from ...stream.philox import DEVICE_ROUNDS, philox4x32_words
from ..inversion import LEAST_LOGIT, LN_2, ROUND, TERMS
from .row_tiles import log_prob_of
from .tiles import load_key

LEAST = tl.constexpr(LEAST_LOGIT)
LOG2_E = tl.constexpr(1 / math.log(2))
LN_2_OF_FLOAT = tl.constexpr(LN_2[torch.float32])
LN_2_OF_DOUBLE = tl.constexpr(LN_2[torch.float64])
ROUND_OF_FLOAT = tl.constexpr(ROUND[torch.float32])
ROUND_OF_DOUBLE = tl.constexpr(ROUND[torch.float64])
TERMS_OF_FLOAT = tl.constexpr(TERMS[torch.float32])
TERMS_OF_DOUBLE = tl.constexpr(TERMS[torch.float64])
INVERSE_FACTORIALS = tl.constexpr(tuple(1 / math.factorial(i) for i in range(TERMS[torch.float64] + 1)))


@triton.jit
def exponential_in_units(x, bits):
    """2**bits e**x, x <= 0: as :func:`engines.inversion.running_sums` has it, and rounded as there."""
    x = tl.where(x > LEAST, x, LEAST)
    if x.dtype == tl.float64:
        power = (x * LOG2_E + ROUND_OF_DOUBLE) - ROUND_OF_DOUBLE
        r = (x - power * LN_2_OF_DOUBLE.value[0]) - power * LN_2_OF_DOUBLE.value[1]
        result = tl.full(x.shape, INVERSE_FACTORIALS.value[TERMS_OF_DOUBLE.value], tl.float64)
        for i in tl.static_range(TERMS_OF_DOUBLE):
            result = result * r + INVERSE_FACTORIALS.value[TERMS_OF_DOUBLE.value - 1 - i]
        scale = ((power.to(tl.int64) + (bits + 1023)) << 52).to(tl.float64, bitcast=True)
    else:
        power = (x * LOG2_E + ROUND_OF_FLOAT) - ROUND_OF_FLOAT
        r = (x - power * LN_2_OF_FLOAT.value[0]) - power * LN_2_OF_FLOAT.value[1]
        result = tl.full(x.shape, INVERSE_FACTORIALS.value[TERMS_OF_FLOAT.value], tl.float32)
        for i in tl.static_range(TERMS_OF_FLOAT):
            result = result * r + INVERSE_FACTORIALS.value[TERMS_OF_FLOAT.value - 1 - i]
        scale = ((power.to(tl.int32) + (bits + 127)) << 23).to(tl.float32, bitcast=True)
    return result * scale


@triton.jit
def prob_in_units(w, top, bits):
    """2**bits w / top, correctly rounded."""
    if w.dtype == tl.float64:
        scale = ((bits + 1023).to(tl.int64) << 52).to(tl.float64, bitcast=True)
        ratio = w / top
    else:
        scale = ((bits + 127) << 23).to(tl.float32, bitcast=True)
        ratio = tl.div_rn(w, top)
    return tl.where(w == top, 1.0, ratio) * scale


@triton.jit
def whole_units(w, top, bits, FROM_PROBS: tl.constexpr):
    """Weights in units, int64, from the largest ones of their rows; a weight that does not exist is -inf."""
    if FROM_PROBS:
        units = tl.where((w > 0) & (top > 0), prob_in_units(w, top, bits), 0.0)
    else:
        units = tl.where(w > float("-inf"), exponential_in_units(tl.where(w == top, 0.0, w - top), bits), 0.0)
    return units.to(tl.int64)


@triton.jit(
    do_not_specialize=["rows", "k", "step", "run", "bits"],
    do_not_specialize_on_alignment=["sums_ptr", "totals_ptr", "top_ptr", "mass_ptr", "weights_ptr"],
)
def running_sums_kernel(
    sums_ptr,
    totals_ptr,
    top_ptr,
    mass_ptr,
    weights_ptr,
    sizes,
    strides,
    rows: tl.int64,
    k: tl.int64,
    step: tl.int64,
    run: tl.int64,
    bits: tl.int32,
    FROM_PROBS: tl.constexpr,
    LOG_PROB: tl.constexpr,
    BLOCKS: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
):
    """The running sums within a part of `run` categories of ROWS rows: sums[row, category], and totals[row, part].

    With BLOCKS only those at the end of each tile, sums[row, tile], and the row's largest weight.
    LOG_PROB asks for the row's largest weight, too, and for the part's sum of probabilities or of exp(logit - largest).
    """
    DTYPE: tl.constexpr = weights_ptr.dtype.element_ty
    COMPUTE: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    INDEX: tl.constexpr = tl.uint64 if WIDE else tl.uint32
    NOTHING: tl.constexpr = float("-inf")
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    exists = row < rows
    at = strided_offset(tl.minimum(row, rows - 1).to(INDEX), sizes, strides, 0, WIDE).to(tl.int64)
    row_ptr = (weights_ptr + at)[:, None]
    element = tl.arange(0, TILE).to(tl.int64)[None, :]

    best = tl.full((ROWS, TILE), NOTHING, COMPUTE)
    for begin in range(0, k, TILE):
        p = begin + element
        w = tl.load(row_ptr + p * step, mask=p < k, other=NOTHING).to(COMPUTE)
        best = tl.where(w > best, w, best)  # not where w is NaN
    top = tl.max(best, axis=1, keep_dims=True)

    begin = tl.program_id(1).to(tl.int64) * run
    end = tl.minimum(begin + run, k)
    total = tl.zeros((ROWS, 1), tl.int64)
    mass = tl.zeros((ROWS, 1), COMPUTE)
    for i in range(tl.cdiv(end - begin, TILE).to(tl.int32)):
        p = begin + i * TILE + element
        inside = p < end
        w = tl.load(row_ptr + p * step, mask=inside, other=NOTHING).to(COMPUTE)
        whole = whole_units(w, top, bits, FROM_PROBS)
        if BLOCKS:
            total += tl.sum(whole, axis=1, keep_dims=True)
            tl.store(sums_ptr + row[:, None] * tl.cdiv(k, TILE) + (begin // TILE + i), total, mask=exists[:, None])
        else:
            sums = total + tl.cumsum(whole, axis=1)
            tl.store(sums_ptr + row[:, None] * k + p, sums, mask=exists[:, None] & inside)
            total += tl.sum(whole, axis=1, keep_dims=True)
        if LOG_PROB:
            if FROM_PROBS:
                shown = tl.where(inside, w, 0.0)
            else:
                shown = tl.exp(tl.where(w == top, 0.0, w - top))
                shown = tl.where(w == NOTHING, 0.0, shown)
            mass += tl.sum(shown, axis=1, keep_dims=True)
    part = row[:, None] * tl.num_programs(1) + tl.program_id(1)
    tl.store(totals_ptr + part, total, mask=exists[:, None])
    if LOG_PROB:
        tl.store(mass_ptr + part, mass, mask=exists[:, None])
    if LOG_PROB or BLOCKS:
        tl.store(top_ptr + row[:, None], top, mask=exists[:, None])


@triton.jit(
    do_not_specialize=["lead", "n", "k", "step", "run", "parts", "halvings", "bits", "in_memory", "k0", "k1", "offset"],
    do_not_specialize_on_alignment=[
        "out_ptr",
        "log_prob_ptr",
        "sums_ptr",
        "totals_ptr",
        "top_ptr",
        "mass_ptr",
        "weights_ptr",
        "seed_ptr",
        "offset_ptr",
    ],
)
def search_kernel(
    out_ptr,
    log_prob_ptr,
    sums_ptr,
    totals_ptr,
    top_ptr,
    mass_ptr,
    weights_ptr,
    sizes,
    strides,
    lead: tl.int64,
    n: tl.int64,
    k: tl.int64,
    step: tl.int64,
    run: tl.int64,
    parts: tl.int32,
    halvings: tl.int32,
    bits: tl.int32,
    seed_ptr,
    offset_ptr,
    in_memory: tl.int32,
    k0: tl.uint32,
    k1: tl.uint32,
    offset: tl.uint64,
    FROM_PROBS: tl.constexpr,
    ONE_HOT: tl.constexpr,
    LOG_PROB: tl.constexpr,
    BLOCK: tl.constexpr,
    EPS: tl.constexpr,
    WIDE: tl.constexpr,
    KEY: tl.constexpr,
    HARDWARE: tl.constexpr,
    LANES: tl.constexpr,
    TILE: tl.constexpr,
):
    """One draw per lane. `strides` are those of the draws' numbers, of the table's rows and of the weights.

    Where BLOCK is not 1, the table has the sums at the end of blocks of so many categories, and the block in which a
    draw ends is added up again. One-hot samples are written TILE categories per program; of these the first stores the
    log-probability.
    """
    INDEX: tl.constexpr = tl.uint64 if WIDE else tl.uint32
    k0, k1, offset = load_key(seed_ptr, offset_ptr, in_memory, k0, k1, offset, KEY)
    draw = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    exists = draw < n
    walked = tl.minimum(draw, n - 1).to(INDEX)
    number = lead + strided_offset(walked, sizes, strides, 0, WIDE).to(tl.int64)
    row = strided_offset(walked, sizes, strides, 1, WIDE).to(tl.int64)

    block = offset + (number >> 1).to(tl.uint64)
    zero = tl.full((), 0, tl.uint32)
    w0, w1, w2, w3 = philox4x32_words(
        block.to(tl.uint32), (block >> 32).to(tl.uint32), zero, zero, k0, k1, DEVICE_ROUNDS, HARDWARE
    )
    odd = (number & 1) == 1
    u = (tl.where(odd, w2, w0).to(tl.uint64) << 32) | tl.where(odd, w3, w1).to(tl.uint64)

    whole = tl.zeros((LANES,), tl.int64)
    for part in range(parts):
        whole += tl.load(totals_ptr + row * parts + part)
    x = tl.umulhi(u, whole.to(tl.uint64)).to(tl.int64)
    # The part in which the sum comes to exceed x, and what is before it.
    first = tl.zeros((LANES,), tl.int64)
    if parts > 1:
        before = tl.zeros((LANES,), tl.int64)
        rest = x
        for part in range(parts):
            before += tl.load(totals_ptr + row * parts + part)
            behind = before <= x
            first += behind.to(tl.int64)
            rest = tl.where(behind, x - before, rest)
        x = rest
        first = tl.minimum(first, parts - 1) * (run // BLOCK)
    entries = tl.cdiv(k, BLOCK)
    length = tl.minimum(entries - first, tl.cdiv(run, BLOCK))
    category = first
    row_ptr = sums_ptr + row * entries
    for _ in range(halvings):
        half = length // 2
        behind = tl.load(row_ptr + category + half - 1, mask=half > 0, other=0) <= x
        category += tl.where(behind, half, 0)
        length -= half
    if BLOCK > 1:
        x -= tl.load(row_ptr + category - 1, mask=category > first, other=0)
        p = category[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
        row_at = strided_offset(walked, sizes, strides, 2, WIDE).to(tl.int64)[:, None]
        given = tl.load(weights_ptr + row_at + p * step, mask=p < k, other=float("-inf"))
        given = given.to(top_ptr.dtype.element_ty)
        sums = tl.cumsum(whole_units(given, tl.load(top_ptr + row)[:, None], bits, FROM_PROBS), axis=1)
        category = category * BLOCK + tl.sum((sums <= x[:, None]).to(tl.int64), axis=1)
    category = tl.where(whole > 0, category, 0)

    if LOG_PROB and tl.program_id(1) == 0:
        COMPUTE: tl.constexpr = mass_ptr.dtype.element_ty
        mass = tl.zeros((LANES,), COMPUTE)
        for part in range(parts):
            mass += tl.load(mass_ptr + row * parts + part)
        at = strided_offset(walked, sizes, strides, 2, WIDE).to(tl.int64) + category * step
        w = tl.load(weights_ptr + at).to(COMPUTE)
        if not FROM_PROBS:
            w = w - tl.load(top_ptr + row)
        log_prob = log_prob_of(w, tl.zeros((LANES,), COMPUTE), mass, EPS, FROM_PROBS)
        tl.store(log_prob_ptr + draw, log_prob.to(log_prob_ptr.dtype.element_ty), mask=exists)
    if ONE_HOT:
        p = tl.program_id(1).to(tl.int64) * TILE + tl.arange(0, TILE)[None, :]
        value = (p == category[:, None]).to(tl.float32).to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + draw[:, None] * k + p, value, mask=exists[:, None] & (p < k))
    else:
        tl.store(out_ptr + draw, category, mask=exists)
