"""What kernels over rows share: which lanes walk which row, its weights, and their running sum.

A group of lanes walks a row, from tile to tile. Where rows are few and long, several programs share one.
"""

# Names in capitals are compile-time constants of Triton's, not Yoda's, and choose what is compiled.
from __future__ import annotations

from dataclasses import dataclass

from ...runtime.language import tl, triton
from .exponential_clocks import LN_2, LOG2_E
from .tiles import interleave, lane_noise_carrying


@triton.jit
def row_of_lane(rows, LANES: tl.constexpr, LPR: tl.constexpr):
    """The number of each lane's row, int64, uniform where a row takes all lanes, and the lane's number in it.

    Lanes beyond the last row repeat it.
    """
    if LPR == LANES:
        return tl.program_id(0).to(tl.int64), tl.arange(0, LANES)
    else:
        lane = tl.arange(0, LANES)
        row = tl.program_id(0).to(tl.int64) * (LANES // LPR) + lane // LPR
        return tl.minimum(row, rows - 1), lane % LPR


@triton.jit
def spread(x, GROUP: tl.constexpr):
    """Repeats what each lane holds for its GROUP elements: (LANES,) to (LANES * GROUP,)."""
    LANES: tl.constexpr = x.shape[0]
    return x[:, None].broadcast_to(LANES, GROUP).reshape(LANES * GROUP)


@triton.jit
def of_elements(x, GROUP: tl.constexpr):
    """Repeats a number of each lane's row for its elements; a number of the only row stays as it is."""
    if len(x.shape) == 0:
        return x
    else:
        return spread(x, GROUP)


@triton.jit
def group_noise(block, k0, k1, NOISE: tl.constexpr, DTYPE: tl.constexpr, HARDWARE: tl.constexpr, STREAMS: tl.constexpr):
    """The noise of groups whose first blocks, uint64, are `block`: in element order, (LANES * GROUP,)."""
    return interleave(lane_noise_carrying(block, k0, k1, NOISE, None, DTYPE, HARDWARE, STREAMS))


@triton.jit
def load_categories(row_ptr, p, k, step, COMPUTE: tl.constexpr, GROUP: tl.constexpr, WIDE_GROUPS: tl.constexpr):
    """The weights of categories `p`, where these exist: (weights, mask). `row_ptr` points to category 0."""
    mask = (p >= 0) & (p < k)
    if WIDE_GROUPS:
        # K is a multiple of GROUP: a group exists as a whole.
        ptrs = tl.max_contiguous(tl.multiple_of(row_ptr + p, GROUP), GROUP)
        mask = tl.max_constancy(mask, GROUP)
        w = tl.load(ptrs, mask=mask, other=0.0)
    else:
        w = tl.load(row_ptr + p * step, mask=mask, other=0.0)
    return w.to(COMPUTE), mask


@triton.jit
def add_powers(top, total, x, GROUP: tl.constexpr):
    """Adds a tile to each lane's running sum of 2**(x - top), under a running maximum `top` of x; x may be -inf."""
    LANES: tl.constexpr = total.shape[0]
    new = tl.maximum(top, tl.max(tl.reshape(x, (LANES, GROUP)), axis=1))
    shift = tl.where(new == float("-inf"), 0.0, new)
    terms = tl.exp2(x - spread(shift, GROUP))
    return new, total * tl.exp2(top - shift) + tl.sum(tl.reshape(terms, (LANES, GROUP)), axis=1)


@triton.jit
def add_up_powers(top, total, ROWS: tl.constexpr):
    """The lanes' sums of :func:`add_powers` as one for each row: (top, total) of shape (ROWS,)."""
    LPR: tl.constexpr = top.shape[0] // ROWS
    tops = tl.reshape(top, (ROWS, LPR))
    row_top = tl.max(tops, axis=1, keep_dims=True)
    shift = tl.where(row_top == float("-inf"), 0.0, row_top)
    row_total = tl.sum(tl.reshape(total, (ROWS, LPR)) * tl.exp2(tops - shift), axis=1)
    return tl.reshape(row_top, (ROWS,)), row_total


@triton.jit
def add_weights(top, total, w, FROM_PROBS: tl.constexpr, GROUP: tl.constexpr):
    """Adds a tile's weights to each lane's running sum: of w, or of 2**(w log2(e) - top) under a running maximum `top`.

    Weights that do not exist are 0 among probabilities and -inf among logits.
    """
    if FROM_PROBS:
        return top, total + tl.sum(tl.reshape(w, (total.shape[0], GROUP)), axis=1)
    else:
        return add_powers(top, total, w * LOG2_E, GROUP)


@triton.jit
def log_prob_of(w, top, total, EPS: tl.constexpr, FROM_PROBS: tl.constexpr):
    """log(w / total) clamped as torch.distributions clamps probabilities, or w - log(total) of a logit."""
    if FROM_PROBS:
        return tl.log(tl.minimum(tl.maximum(w / total, EPS), 1.0 - EPS))
    else:
        return w - (top + tl.log2(total)) * LN_2


@triton.jit
def store_one_hot(row_out_ptr, p, k, winner, GROUP: tl.constexpr, WIDE_GROUPS: tl.constexpr):
    """Stores 1 for category `winner` and 0 for the others among `p`."""
    mask = (p >= 0) & (p < k)
    value = (p == winner).to(tl.float32).to(row_out_ptr.dtype.element_ty)  # the interpreter makes no halves of bools
    if WIDE_GROUPS:
        ptrs = tl.max_contiguous(tl.multiple_of(row_out_ptr + p, GROUP), GROUP)
        tl.store(ptrs, value, mask=tl.max_constancy(mask, GROUP))
    else:
        tl.store(row_out_ptr + p, value, mask=mask)


@dataclass(frozen=True)
class RowConfig:
    """How lanes and programs share rows. The sample does not depend on it.

    Attributes:
        lanes: of a program.
        lanes_per_row: at most `lanes`; a power of two.
        unroll: tiles in a pass of the hot loop.
        run: tiles of a row that one program walks.
        parts: programs along a row.
    """

    lanes: int
    lanes_per_row: int
    unroll: int
    run: int
    parts: int


# One warp walks a row of up to so many groups for each of its lanes: longer rows have full tiles for the hot loop.
WARP_TILES = 4
# A row is shared among programs where there would be fewer than this, but none gets less than one hot pass.
ROW_PROGRAMS = 1024
UNROLL = 4


def configure(rows: int, k: int, group: int) -> RowConfig:
    """The configuration for rows of k categories."""
    groups = -(-(k + (group - 1) * (k % group != 0)) // group)
    lanes = 128
    if groups <= 32 * WARP_TILES:
        per_row = min(triton.next_power_of_2(groups), 32)
        return RowConfig(lanes, per_row, UNROLL, -(-groups // per_row), 1)
    tiles = -(-groups // lanes)
    parts = max(1, min(ROW_PROGRAMS // rows, tiles // UNROLL))
    run = -(-tiles // (parts * UNROLL)) * UNROLL if parts > 1 else tiles
    return RowConfig(lanes, lanes, UNROLL, run, -(-tiles // run))
