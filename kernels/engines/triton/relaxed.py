"""Relaxed draws: a point of the simplex for each row, softmax((logits + Gumbel noise) / temperature), or its logarithm.

A program walks its part of a row twice: once for the sum that normalises, once to draw the same scores again and write
them; the noise of a row that is one tile long stays in registers. Where rows are few and long, several programs share
one, and the two walks are two launches.
"""

# Names in capitals are compile-time constants of Triton's, not Yoda's.
# ruff: noqa: SIM300
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...formula.devicemath import log2
from ...runtime.language import tl, triton
from ...stream.layout import strided_offset
from ...stream.noise import compute_dtype
from ..row_layout import describe_rows
from .direct_launch import launch
from .exponential_clocks import LN_2, logits_score, race_time
from .launch import device_empty, group_size, hardware, key_arguments
from .row_tiles import (
    RowConfig,
    add_powers,
    add_up_powers,
    configure,
    group_noise,
    load_categories,
    of_elements,
    row_of_lane,
)
from .tiles import load_key


@triton.jit
def _add_up(x, mask, GROUP: tl.constexpr):
    """The sum over each lane's elements."""
    return tl.sum(tl.reshape(tl.where(mask, x, 0.0), (x.shape[0] // GROUP, GROUP)), axis=1)


@triton.jit
def _add_up_parts(ptr, row, parts, PARTS: tl.constexpr):
    """The sum of what the parts of each row have stored."""
    part = tl.arange(0, PARTS)[None, :]
    return tl.sum(tl.load(ptr + row[:, None] * parts + part, mask=part < parts, other=0.0), axis=1)


@triton.jit(
    do_not_specialize=["rows", "k", "step", "run", "parts", "in_memory", "k0", "k1", "offset"],
    do_not_specialize_on_alignment=[
        "out_ptr",
        "log_prob_ptr",
        "top_ptr",
        "total_ptr",
        "sums_ptr",
        "logits_ptr",
        "temperature_ptr",
        "seed_ptr",
        "offset_ptr",
    ],
)
def relaxed_kernel(
    out_ptr,
    log_prob_ptr,
    top_ptr,
    total_ptr,
    sums_ptr,
    logits_ptr,
    temperature_ptr,
    sizes,
    strides,
    rows: tl.int64,
    k: tl.int64,
    step: tl.int64,
    run: tl.int32,
    parts: tl.int32,
    log_prob_constant: tl.float64,
    seed_ptr,
    offset_ptr,
    in_memory: tl.int32,
    k0: tl.uint32,
    k1: tl.uint32,
    offset: tl.uint64,
    EXPONENTIATED: tl.constexpr,
    LOG_PROB: tl.constexpr,
    PHASE: tl.constexpr,
    ALIGNED: tl.constexpr,
    EVEN: tl.constexpr,
    WIDE: tl.constexpr,
    KEY: tl.constexpr,
    HARDWARE: tl.constexpr,
    LANES: tl.constexpr,
    LPR: tl.constexpr,
    PARTS: tl.constexpr,
):
    """One launch of PHASE "tile" or "row", where programs see whole rows; or "sums" and then "write".

    log_prob_constant is what the log-density needs besides sums and the temperature: lgamma(k) - k log(k).
    """
    DTYPE: tl.constexpr = logits_ptr.dtype.element_ty
    COMPUTE: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    INDEX: tl.constexpr = tl.uint64 if WIDE else tl.uint32
    PER_BLOCK: tl.constexpr = 2 if DTYPE == tl.float64 else 4
    STREAMS: tl.constexpr = 2 if DTYPE.primitive_bitwidth == 16 else 1
    GROUP: tl.constexpr = PER_BLOCK * STREAMS
    ROWS: tl.constexpr = LANES // LPR
    TILE: tl.constexpr = LPR * GROUP

    k0, k1, offset = load_key(seed_ptr, offset_ptr, in_memory, k0, k1, offset, KEY)
    row, lane = row_of_lane(rows, LANES, LPR)
    if EVEN:
        k = k // GROUP * GROUP  # so that the compiler knows
    flat = row * k
    lead = flat % GROUP
    block = offset + ((flat - lead) // PER_BLOCK).to(tl.uint64)
    element = (tl.arange(0, LANES * GROUP) % TILE).to(tl.int64)
    row_at = strided_offset(row.to(INDEX), sizes, strides, 0, WIDE).to(tl.int64)
    row_ptr = of_elements(logits_ptr + row_at, GROUP)
    row_out_ptr = of_elements(out_ptr + flat, GROUP)
    element_lead = of_elements(lead, GROUP)
    temperature = tl.load(temperature_ptr).to(COMPUTE)
    inverse = 1.0 / temperature

    row_of = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    exists = row_of < rows
    first = tl.program_id(1).to(tl.int64) * run
    last = tl.minimum(first + run, tl.cdiv(k if EVEN else k + (GROUP - 1), TILE))

    # Scores are in units of ln 2.
    score = tl.zeros((LANES * GROUP,), COMPUTE)
    top = tl.full((LANES,), float("-inf"), COMPUTE)
    total = tl.zeros((LANES,), COMPUTE)
    sum_of_times = tl.zeros((LANES,), COMPUTE)
    sum_of_logs = tl.zeros((LANES,), COMPUTE)
    sum_of_scores = tl.zeros((LANES,), COMPUTE)
    if PHASE != "write":
        for t in range(first, last):
            at = block + ((t * LPR + lane) * STREAMS).to(tl.uint64)
            time = group_noise(at, k0, k1, race_time, DTYPE, HARDWARE, STREAMS)
            p = t * TILE + element - element_lead
            w, mask = load_categories(row_ptr, p, k, step, COMPUTE, GROUP, ALIGNED and EVEN)
            score = tl.where(mask, logits_score(time, w, HARDWARE) * inverse, float("-inf"))
            top, total = add_powers(top, total, score, GROUP)
            if LOG_PROB:
                sum_of_times += _add_up(time, mask, GROUP)
                sum_of_logs += _add_up(log2(time, HARDWARE), mask, GROUP)
                if EXPONENTIATED:
                    sum_of_scores += _add_up(score, mask, GROUP)

    if PHASE == "sums":
        row_top, row_total = add_up_powers(top, total, ROWS)
        part = row_of * parts + tl.program_id(1)
        tl.store(top_ptr + part, row_top, mask=exists)
        tl.store(total_ptr + part, row_total, mask=exists)
        if LOG_PROB:
            tl.store(sums_ptr + part, tl.sum(tl.reshape(sum_of_times, (ROWS, LPR)), axis=1), mask=exists)
            part += rows * parts
            tl.store(sums_ptr + part, tl.sum(tl.reshape(sum_of_logs, (ROWS, LPR)), axis=1), mask=exists)
            part += rows * parts
            tl.store(sums_ptr + part, tl.sum(tl.reshape(sum_of_scores, (ROWS, LPR)), axis=1), mask=exists)
    else:
        if PHASE == "write":
            part = tl.arange(0, PARTS)
            slot = tl.program_id(0).to(tl.int64) * parts + part
            top = tl.load(top_ptr + slot, mask=part < parts, other=float("-inf"))
            total = tl.load(total_ptr + slot, mask=part < parts, other=0.0)
        row_top, row_total = add_up_powers(top, total, ROWS)
        norm = row_top + tl.log2(row_total)
        element_norm = tl.reshape(norm[:, None].broadcast_to(ROWS, TILE), (LANES * GROUP,))
        for t in range(first, last):
            p = t * TILE + element - element_lead
            if PHASE != "tile":
                at = block + ((t * LPR + lane) * STREAMS).to(tl.uint64)
                time = group_noise(at, k0, k1, race_time, DTYPE, HARDWARE, STREAMS)
                w, _ = load_categories(row_ptr, p, k, step, COMPUTE, GROUP, ALIGNED and EVEN)
                score = logits_score(time, w, HARDWARE) * inverse
            # Not the mask that load_categories returns: Triton 3.9 puts a hint about that on the weights.
            inside = (p >= 0) & (p < k)
            x = score - element_norm
            value = tl.exp2(x) if EXPONENTIATED else x * LN_2
            value = value.to(DTYPE)
            if EVEN:
                ptrs = tl.max_contiguous(tl.multiple_of(row_out_ptr + p, GROUP), GROUP)
                tl.store(ptrs, value, mask=tl.max_constancy(inside, GROUP))
            else:
                tl.store(row_out_ptr + p, value, mask=inside)
        if LOG_PROB and tl.program_id(1) == 0:
            if PHASE == "write":
                row_times = _add_up_parts(sums_ptr, row_of, parts, PARTS)
                row_logs = _add_up_parts(sums_ptr + rows * parts, row_of, parts, PARTS)
                row_scores = _add_up_parts(sums_ptr + 2 * rows * parts, row_of, parts, PARTS)
            else:
                row_times = tl.sum(tl.reshape(sum_of_times, (ROWS, LPR)), axis=1)
                row_logs = tl.sum(tl.reshape(sum_of_logs, (ROWS, LPR)), axis=1)
                row_scores = tl.sum(tl.reshape(sum_of_scores, (ROWS, LPR)), axis=1)
            # One number per row: float64 costs nothing. The mean keeps the terms small.
            n = k.to(tl.float64)
            logs = row_logs.to(tl.float64) - n * tl.log2(row_times.to(tl.float64) / n)
            if EXPONENTIATED:
                logs -= row_scores.to(tl.float64) - n * norm.to(tl.float64)
            log_prob = logs * LN_2 + log_prob_constant + (n - 1.0) * tl.log(temperature.to(tl.float64))
            tl.store(log_prob_ptr + row_of, log_prob.to(COMPUTE).to(DTYPE), mask=exists)


def relaxed(
    key: Sequence[Tensor],
    logits: Tensor,
    temperature: Tensor,
    shape: Sequence[int],
    *,
    exponentiated: bool,
    log_prob: bool,
    config: RowConfig | None = None,
) -> list[Tensor]:
    """Draw a point of the simplex, or its logarithm, for each row: as :func:`engines.eager.rows.relaxed`.

    Args:
        key: as in :func:`engines.triton.race.race`.
    """
    *batch, k = shape
    rows, device, dtype = math.prod(batch), logits.device, logits.dtype
    out = device_empty(shape, dtype, device)
    log_probs = device_empty(batch, dtype, device) if log_prob else None
    outputs = [out] if log_probs is None else [out, log_probs]
    if rows == 0 or k == 0:
        return outputs
    group = group_size(dtype)
    layout = describe_rows(shape, logits, group)
    config = config or configure(rows, k, group)
    compute = compute_dtype(dtype)
    top, total, sums = None, None, None
    if config.parts > 1:
        top, total = (device_empty((rows, config.parts), compute, device) for _ in range(2))
        sums = device_empty((3, rows, config.parts), compute, device) if log_prob else None
        phases = ["sums", "write"]
    else:
        phases = ["tile" if config.run == 1 else "row"]
    key_kind, *key_words = key_arguments(key, device)
    constants: dict[str, Any] = {
        "EXPONENTIATED": exponentiated,
        "LOG_PROB": log_prob,
        "ALIGNED": layout.aligned,
        "EVEN": k % group == 0,
        "WIDE": layout.wide,
        "KEY": key_kind,
        "HARDWARE": hardware(),
        "LANES": config.lanes,
        "LPR": config.lanes_per_row,
        "PARTS": triton.next_power_of_2(config.parts),
        "num_warps": config.lanes // 32,
        "enable_fp_fusion": False,
    }
    for phase in phases:
        launch(
            relaxed_kernel,
            (-(-rows // (config.lanes // config.lanes_per_row)), config.parts),
            device,
            out,
            log_probs,
            top,
            total,
            sums,
            logits,
            temperature,
            layout.sizes,
            layout.strides,
            rows,
            k,
            layout.step,
            config.run,
            config.parts,
            math.lgamma(k) - k * math.log(k),
            *key_words,
            PHASE=phase,
            **constants,
        )
    return outputs
