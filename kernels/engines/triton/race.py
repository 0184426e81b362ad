"""The race of a row's categories in one pass over the weights: the index of the winner, one-hot or not.

A group of LPR lanes walks a row, from tile to tile. Where that is a whole program, the full tiles go through a hot loop
that keeps, for each lane, the best score of a pass of UNROLL tiles and the number of that pass; once the winning lane
is known, the few elements of its pass are drawn again to see which it was. Other tiles are masked and keep an index for
each element. Where rows are few and long, several programs share one, and a second kernel compares their winners.

Scores are compared exactly and ties go to the lowest index, so that the winner does not depend on who compares what.
"""

# Names in capitals are compile-time constants of Triton's, not Yoda's, and choose what is compiled.
# ruff: noqa: SIM108, SIM300
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...runtime.language import tl, triton
from ...stream.layout import strided_offset
from ...stream.noise import SIGNIFICAND_BITS, compute_dtype
from ..row_layout import describe_rows
from .direct_launch import launch
from .exponential_clocks import logits_score, probs_score, race_time
from .launch import Launched, device_empty, group_size, hardware, key_arguments
from .row_tiles import (
    RowConfig,
    add_up_powers,
    add_weights,
    configure,
    group_noise,
    load_categories,
    log_prob_of,
    of_elements,
    row_of_lane,
    spread,
    store_one_hot,
)
from .tiles import interleave, lane_noise, load_key, load_tile

# Greater than every category's number.
NOBODY = tl.constexpr(2**62)


@triton.jit(
    do_not_specialize=["rows", "k", "step", "run", "in_memory", "k0", "k1", "offset"],
    do_not_specialize_on_alignment=[
        "out_ptr",
        "score_ptr",
        "top_ptr",
        "total_ptr",
        "weights_ptr",
        "seed_ptr",
        "offset_ptr",
    ],
)
def race_kernel(
    out_ptr,
    log_prob_ptr,
    score_ptr,
    top_ptr,
    total_ptr,
    weights_ptr,
    sizes,
    strides,
    rows: tl.int64,
    k: tl.int64,
    step: tl.int64,
    run: tl.int32,
    seed_ptr,
    offset_ptr,
    in_memory: tl.int32,
    k0: tl.uint32,
    k1: tl.uint32,
    offset: tl.uint64,
    SCORE: tl.constexpr,
    FROM_PROBS: tl.constexpr,
    OUTPUT: tl.constexpr,
    LOG_PROB: tl.constexpr,
    EPS: tl.constexpr,
    ALIGNED: tl.constexpr,
    EVEN: tl.constexpr,
    WIDE: tl.constexpr,
    KEY: tl.constexpr,
    HARDWARE: tl.constexpr,
    LANES: tl.constexpr,
    LPR: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """The winner of each row, among the tiles of a program.

    OUTPUT is "index" or "one_hot" where programs see whole rows; else "part", and the index goes to out[row, program]
    and its score to score[row, program]. LOG_PROB asks for the winner's log-probability too: of whole rows it is
    stored, of parts the sums that it needs.
    """
    DTYPE: tl.constexpr = weights_ptr.dtype.element_ty
    COMPUTE: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    INDEX: tl.constexpr = tl.uint64 if WIDE else tl.uint32
    PER_BLOCK: tl.constexpr = 2 if DTYPE == tl.float64 else 4
    STREAMS: tl.constexpr = 2 if DTYPE.primitive_bitwidth == 16 else 1
    GROUP: tl.constexpr = PER_BLOCK * STREAMS
    ROWS: tl.constexpr = LANES // LPR
    TILE: tl.constexpr = LPR * GROUP
    WIDE_GROUPS: tl.constexpr = ALIGNED and EVEN
    KINDS: tl.constexpr = ("dense",)  # written in a call, Triton takes it for an argument of run time before 3.8
    # Who has no more than this does not run.
    NO_SCORE: tl.constexpr = 0.0 if FROM_PROBS else float("-inf")

    k0, k1, offset = load_key(seed_ptr, offset_ptr, in_memory, k0, k1, offset, KEY)
    row, lane = row_of_lane(rows, LANES, LPR)
    if EVEN:
        k = k // GROUP * GROUP  # so that the compiler knows
    # A row begins `lead` elements behind the beginning of a group, whose first block is `block`.
    flat = row * k
    lead = flat % GROUP
    block = offset + ((flat - lead) // PER_BLOCK).to(tl.uint64)
    row_at = strided_offset(row.to(INDEX), sizes, strides, 0, WIDE).to(tl.int64)
    element = (tl.arange(0, LANES * GROUP) % TILE).to(tl.int64)
    row_ptr = of_elements(weights_ptr + row_at, GROUP)
    element_lead = of_elements(lead, GROUP)

    # The program's tiles are first .. last, hot among them the UNROLL * hot from hot_first on.
    first = tl.program_id(1).to(tl.int64) * run
    last = tl.minimum(first + run, tl.cdiv(k if EVEN else k + (GROUP - 1), TILE))
    hot_first = first
    hot = tl.zeros((), tl.int32)

    lane_best = tl.full((LANES,), NO_SCORE, COMPUTE)
    lane_pass = tl.zeros((LANES,), tl.int32)
    top = tl.full((LANES,), float("-inf"), COMPUTE)
    total = tl.zeros((LANES,), COMPUTE)
    if LPR == LANES and ALIGNED:
        if not EVEN:
            hot_first += ((first == 0) & (lead > 0)).to(tl.int64)
        hot_block = block + (hot_first * (TILE // PER_BLOCK)).to(tl.uint64)
        rest = tl.maximum(tl.minimum(last, k // TILE) - hot_first, 0) // UNROLL
        end_block = hot_block + (rest * (UNROLL * TILE // PER_BLOCK)).to(tl.uint64)
        hot = tl.where((hot_block >> 32) == (end_block >> 32), rest, 0).to(tl.int32)
        c0 = hot_block.to(tl.uint32) + lane.to(tl.uint32) * STREAMS
        c1 = (hot_block >> 32).to(tl.uint32)
        at = row_at - lead + hot_first * TILE
        for i in range(hot):
            best = tl.full((TILE,), float("-inf"), COMPUTE)
            for u in tl.static_range(UNROLL):
                x = lane_noise(c0, c1, k0, k1, race_time, DTYPE, HARDWARE, STREAMS, u * LANES * STREAMS)
                w = load_tile((weights_ptr,), at, (), (), u, KINDS, WIDE, COMPUTE, LANES, GROUP)[0]
                score = SCORE(interleave(x), w, HARDWARE)
                if u == 0:
                    best = score
                else:
                    best = tl.maximum(best, score)
                if LOG_PROB:
                    top, total = add_weights(top, total, w, FROM_PROBS, GROUP)
            group_best = tl.max(tl.reshape(best, (LANES, GROUP)), axis=1)
            better = group_best > lane_best
            lane_best = tl.where(better, group_best, lane_best)
            lane_pass = tl.where(better, i, lane_pass)
            c0 += UNROLL * LANES * STREAMS
            at += UNROLL * TILE

    best = tl.full((LANES * GROUP,), NO_SCORE, COMPUTE)
    winner = tl.full((LANES * GROUP,), NOBODY, tl.int64)
    for i in range((last - first).to(tl.int32) - hot * UNROLL):
        t = first + i
        t += tl.where(t >= hot_first, hot * UNROLL, 0)
        x = group_noise(block + ((t * LPR + lane) * STREAMS).to(tl.uint64), k0, k1, race_time, DTYPE, HARDWARE, STREAMS)
        p = t * TILE + element - element_lead
        w, mask = load_categories(row_ptr, p, k, step, COMPUTE, GROUP, WIDE_GROUPS)
        score = tl.where(mask, SCORE(x, w, HARDWARE), float("-inf"))
        better = score > best
        best = tl.where(better, score, best)
        winner = tl.where(better, p, winner)
        if LOG_PROB:
            if not FROM_PROBS:
                w = tl.where(mask, w, float("-inf"))
            top, total = add_weights(top, total, w, FROM_PROBS, GROUP)

    score = tl.max(tl.reshape(best, (ROWS, TILE)), axis=1, keep_dims=True)
    behind = tl.reshape(best, (ROWS, TILE)) < score
    index = tl.min(tl.where(behind, NOBODY, tl.reshape(winner, (ROWS, TILE))), axis=1)
    score = tl.reshape(score, (ROWS,))
    if LPR == LANES and ALIGNED:
        hot_best = tl.max(lane_best, axis=0)
        ahead = hot_best > score
        index = tl.where(ahead, NOBODY, index)
        # The lanes that hold the best score, nearly always one or none, draw its pass again, a tile in each lane.
        holds = tl.where(hot_best >= score, lane_best == hot_best, False)
        for _ in range(tl.where(hot_best > NO_SCORE, tl.sum(holds.to(tl.int32), axis=0), 0)):
            chosen = tl.min(tl.where(holds, lane, LANES), axis=0)
            holds = tl.where(lane == chosen, False, holds)
            of_pass = tl.max(tl.where(lane == chosen, lane_pass, 0), axis=0)
            t = hot_first + of_pass * UNROLL + lane
            x = group_noise(
                block + ((t * LPR + chosen) * STREAMS).to(tl.uint64), k0, k1, race_time, DTYPE, HARDWARE, STREAMS
            )
            lane_first = (t * LPR + chosen) * GROUP - lead
            p = spread(lane_first, GROUP) + tl.arange(0, LANES * GROUP) % GROUP
            mask = spread(lane, GROUP) < UNROLL
            w = tl.load(row_ptr + p, mask=mask, other=0.0).to(COMPUTE)
            again = tl.where(mask, SCORE(x, w, HARDWARE), float("-inf"))
            found = tl.where(again == tl.max(again, axis=0), p, NOBODY)
            index = tl.minimum(index, tl.min(found, axis=0))
        score = tl.maximum(score, hot_best)
    # No category has a score when all weights are probabilities of 0, logits of -inf, or NaN: the result is 0.
    index = tl.where(index == NOBODY, 0, index)

    row_of = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    exists = row_of < rows
    if LOG_PROB:
        if FROM_PROBS:
            row_top = tl.zeros((ROWS,), COMPUTE)
            row_total = tl.sum(tl.reshape(total, (ROWS, LPR)), axis=1)
        else:
            row_top, row_total = add_up_powers(top, total, ROWS)
    if OUTPUT == "part":
        part = row_of * tl.num_programs(1) + tl.program_id(1)
        tl.store(out_ptr + part, index, mask=exists)
        tl.store(score_ptr + part, score, mask=exists)
        if LOG_PROB:
            tl.store(top_ptr + part, row_top, mask=exists)
            tl.store(total_ptr + part, row_total, mask=exists)
    else:
        if LOG_PROB:
            own = strided_offset(tl.minimum(row_of, rows - 1).to(INDEX), sizes, strides, 0, WIDE)
            w = tl.load(weights_ptr + own + index * step).to(COMPUTE)
            log_prob = log_prob_of(w, row_top, row_total, EPS, FROM_PROBS)
            tl.store(log_prob_ptr + row_of, log_prob.to(log_prob_ptr.dtype.element_ty), mask=exists)
        if OUTPUT == "index":
            tl.store(out_ptr + row_of, index, mask=exists)
        else:
            of_element = tl.reshape(index[:, None].broadcast_to(ROWS, TILE), (LANES * GROUP,))
            row_out_ptr = of_elements(out_ptr + flat, GROUP)
            for t in range(last.to(tl.int32)):
                p = t * TILE + element - element_lead
                store_one_hot(row_out_ptr, p, k, of_element, GROUP, EVEN)


@triton.jit(
    do_not_specialize=["k", "step", "parts"],
    do_not_specialize_on_alignment=["out_ptr", "index_ptr", "score_ptr", "top_ptr", "total_ptr", "weights_ptr"],
)
def race_finish_kernel(
    out_ptr,
    log_prob_ptr,
    index_ptr,
    score_ptr,
    top_ptr,
    total_ptr,
    weights_ptr,
    sizes,
    strides,
    k: tl.int64,
    step: tl.int64,
    parts: tl.int32,
    FROM_PROBS: tl.constexpr,
    OUTPUT: tl.constexpr,
    LOG_PROB: tl.constexpr,
    EPS: tl.constexpr,
    EVEN: tl.constexpr,
    WIDE: tl.constexpr,
    GROUP: tl.constexpr,
    TILE: tl.constexpr,
    PARTS: tl.constexpr,
):
    """The winner of a row's parts. A program for each row or, where OUTPUT is "one_hot", for each tile of each row."""
    COMPUTE: tl.constexpr = score_ptr.dtype.element_ty
    INDEX: tl.constexpr = tl.uint64 if WIDE else tl.uint32
    row = tl.program_id(0).to(tl.int64)
    part = tl.arange(0, PARTS)
    exists = part < parts
    score = tl.load(score_ptr + row * parts + part, mask=exists, other=float("-inf"))
    index = tl.load(index_ptr + row * parts + part, mask=exists, other=NOBODY)
    winner = tl.min(tl.where(score == tl.max(score, axis=0), index, NOBODY), axis=0)
    if LOG_PROB and tl.program_id(1) == 0:
        total = tl.load(total_ptr + row * parts + part, mask=exists, other=0.0)
        if FROM_PROBS:
            top = tl.zeros((), COMPUTE)
            total = tl.sum(total, axis=0)
        else:
            top = tl.load(top_ptr + row * parts + part, mask=exists, other=float("-inf"))
            top, total = add_up_powers(top, total, 1)
            top = tl.max(top, axis=0)
            total = tl.max(total, axis=0)
        at = strided_offset(row.to(INDEX), sizes, strides, 0, WIDE).to(tl.int64) + winner * step
        log_prob = log_prob_of(tl.load(weights_ptr + at).to(COMPUTE), top, total, EPS, FROM_PROBS)
        tl.store(log_prob_ptr + row, log_prob.to(log_prob_ptr.dtype.element_ty))
    if OUTPUT == "index":
        tl.store(out_ptr + row, winner)
    else:
        if EVEN:
            k = k // GROUP * GROUP
        p = tl.program_id(1).to(tl.int64) * TILE + tl.arange(0, TILE) - row * k % GROUP
        store_one_hot(out_ptr + row * k, p, k, winner, GROUP, EVEN)


def race(
    key: Sequence[Tensor],
    weights: Tensor,
    shape: Sequence[int],
    *,
    from_probs: bool,
    one_hot: bool,
    log_prob: bool,
    config: RowConfig | None = None,
) -> list[Tensor]:
    """Draw a category for each row of a draw of `shape`: as :func:`engines.eager.rows.race`.

    Args:
        key: one uint64 tensor (seed, offset), on the CPU or on the weights' device; or the three tensors of
            `torch.Generator.philox_state`.
    """
    options: dict[str, Any] = {"from_probs": from_probs, "one_hot": one_hot, "log_prob": log_prob, "config": config}
    return launched_race(key, weights, shape, **options)[0]


def launched_race(
    key: Sequence[Tensor],
    weights: Tensor,
    shape: Sequence[int],
    *,
    from_probs: bool,
    one_hot: bool,
    log_prob: bool,
    config: RowConfig | None = None,
) -> tuple[list[Tensor], Launched | None]:
    """`race`, and what repeats it on other weights where it is one launch."""
    *batch, k = shape
    rows, device, dtype = math.prod(batch), weights.device, weights.dtype
    compute = compute_dtype(dtype)
    out = device_empty(shape, dtype, device) if one_hot else device_empty(batch, torch.int64, device)
    log_probs = device_empty(batch, dtype, device) if log_prob else None
    outputs = [out] if log_probs is None else [out, log_probs]
    if rows == 0 or k == 0:
        return outputs, None
    group = group_size(dtype)
    layout = describe_rows(shape, weights, group)
    config = config or configure(rows, k, group)
    rows_per_program = config.lanes // config.lanes_per_row
    split = config.parts > 1
    index, score, top, total = out, None, None, None
    if split:
        index, score = (device_empty((rows, config.parts), dtype, device) for dtype in (torch.int64, compute))
        if log_prob:
            top, total = (device_empty((rows, config.parts), compute, device) for _ in range(2))
    output = "one_hot" if one_hot else "index"
    key_kind, *key_words = key_arguments(key, device)
    constants: dict[str, Any] = {
        "FROM_PROBS": from_probs,
        "LOG_PROB": log_prob,
        "EPS": 2.0 ** (1 - SIGNIFICAND_BITS[dtype]),
        "EVEN": k % group == 0,
        "WIDE": layout.wide,
        "enable_fp_fusion": False,
    }
    grid = (-(-rows // rows_per_program), config.parts)
    program = launch(
        race_kernel,
        grid,
        device,
        index,
        None if split else log_probs,
        score,
        top,
        total,
        weights,
        layout.sizes,
        layout.strides,
        rows,
        k,
        layout.step,
        config.run,
        *key_words,
        SCORE=probs_score if from_probs else logits_score,
        OUTPUT="part" if split else output,
        ALIGNED=layout.aligned,
        KEY=key_kind,
        HARDWARE=hardware(),
        LANES=config.lanes,
        LPR=config.lanes_per_row,
        UNROLL=config.unroll,
        num_warps=config.lanes // 32,
        **constants,
    )
    if split:
        tile = 128 * group
        tiles = -(-(k + group - 1) // tile) if one_hot else 1
        launch(
            race_finish_kernel,
            (rows, tiles),
            device,
            out,
            log_probs,
            index,
            score,
            top,
            total,
            weights,
            layout.sizes,
            layout.strides,
            k,
            layout.step,
            config.parts,
            OUTPUT=output,
            GROUP=group,
            TILE=tile,
            PARTS=triton.next_power_of_2(config.parts),
            num_warps=4 if one_hot else 1,
            **constants,
        )
    if split or log_prob or program is None:
        return outputs, None
    return outputs, Launched(program, grid, (*layout.sizes, *layout.strides, rows, k, layout.step, config.run))
