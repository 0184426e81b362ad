"""Several draws from each row by inversion: two launches, of running sums and of a search; see engines/inversion.py."""

# Names in capitals are compile-time constants of Triton's, not Yoda's, and choose what is compiled.
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...runtime.language import triton
from ...stream.layout import INT31, pack
from ...stream.noise import SIGNIFICAND_BITS, compute_dtype
from ...stream.window import Window
from ..inversion import describe_walk, unit_bits
from .direct_launch import launch
from .inversion_kernels import running_sums_kernel, search_kernel
from .launch import device_empty, hardware, key_arguments

# A row is shared among programs where there would be fewer than this, but none gets less than two tiles.
TABLE_PROGRAMS = 256
MOST_PARTS = 32
TABLE_TILE = 2048
# How many weights a program of the second launch adds up again at a time.
SEARCH_ELEMENTS = 1 << 13


@dataclass(frozen=True)
class TableConfig:
    """How programs share rows when they make the table. The sample does not depend on it.

    Attributes:
        rows, tile: of the weights that a program looks at together; powers of two.
        run: categories of the part of a row that one program adds up; a multiple of `tile` if there are several.
        parts: programs along a row.
    """

    rows: int
    tile: int
    run: int
    parts: int


def configure(rows: int, k: int) -> TableConfig:
    """The configuration for rows of k categories."""
    tile = min(triton.next_power_of_2(k), TABLE_TILE)
    together = max(1, min(TABLE_TILE // tile, triton.next_power_of_2(rows)))
    parts = max(1, min(TABLE_PROGRAMS * together // rows, k // (2 * tile), MOST_PARTS))
    run = -(-k // (parts * tile)) * tile if parts > 1 else k
    return TableConfig(together, tile, run, -(-k // run))


def blocks_are_enough(draws: int, k: int, config: TableConfig) -> bool:
    """Whether so many draws per row cost less by adding up a block each than by a table of all running sums."""
    return config.rows == 1 and draws * 2 * config.tile <= k


def inversion(
    key: Sequence[Tensor],
    weights: Tensor,
    shape: Sequence[int],
    *,
    from_probs: bool,
    one_hot: bool,
    log_prob: bool,
    window: Window | None = None,
    config: TableConfig | None = None,
) -> list[Tensor]:
    """Draw several categories from each row: as :func:`engines.eager.rows.inversion`.

    Args:
        key: as :func:`engines.triton.race.race` takes it.
    """
    *batch, k = shape
    n, device, dtype = math.prod(batch), weights.device, weights.dtype
    compute = compute_dtype(dtype)
    out = device_empty(shape, dtype, device) if one_hot else device_empty(batch, torch.int64, device)
    log_probs = device_empty(batch, dtype, device) if log_prob else None
    outputs = [out] if log_probs is None else [out, log_probs]
    if n == 0 or k == 0:
        return outputs
    walk = describe_walk(shape, weights.shape, weights.stride(), window)
    over_rows = walk.over_rows()
    rows = math.prod(size for size, *_ in over_rows)
    config = config or configure(rows, k)
    step = weights.stride(-1) if k > 1 else 1
    # Of the weights' dimensions, which are in order, and of the draws' in a table whose rows follow each other.
    of_rows = [(size, stride) for size, stride, *_ in over_rows] or [(1, 0)]
    table_steps, rest = [], rows
    for size, stride in zip(walk.sizes, walk.weights, strict=True):
        rest //= size if stride else 1
        table_steps.append(rest if stride else 0)
    sizes = walk.sizes or [1]
    strides = [*(walk.numbers or [0]), *(table_steps or [0]), *(walk.weights or [0])]
    extents = (sum((s - 1) * t for s, t in zip(sizes, steps, strict=True)) for steps in (walk.numbers, walk.weights))
    wide = max(n, *extents, *(2 * s for s in sizes), *(2 * s for s in strides)) >= INT31
    # Where draws are few, sums of blocks are enough.
    block = config.tile if blocks_are_enough(n // rows, k, config) else 1
    sums = device_empty((rows, -(-k // block)), torch.int64, device)
    totals = device_empty((rows, config.parts), torch.int64, device)
    top = device_empty((rows,), compute, device) if log_prob or block > 1 else None
    mass = device_empty((rows, config.parts), compute, device) if log_prob else None
    key_kind, *key_words = key_arguments(key, device)
    lanes, tile = (16, min(triton.next_power_of_2(k), 512)) if one_hot else (128, 1)
    lanes = max(1, min(lanes, SEARCH_ELEMENTS // block))
    constants = {"FROM_PROBS": from_probs, "LOG_PROB": log_prob, "WIDE": wide, "enable_fp_fusion": False}
    launch(
        running_sums_kernel,
        (-(-rows // config.rows), config.parts),
        device,
        sums,
        totals,
        top,
        mass,
        weights,
        pack([size for size, _ in of_rows], wide),
        pack([stride for _, stride in of_rows], wide),
        rows,
        k,
        step,
        config.run,
        unit_bits(k),
        BLOCKS=block > 1,
        ROWS=config.rows,
        TILE=config.tile,
        num_warps=8 if config.rows * config.tile >= 2048 else 4,
        **constants,
    )
    launch(
        search_kernel,
        (-(-n // lanes), -(-k // tile) if one_hot else 1),
        device,
        out,
        log_probs,
        sums,
        totals,
        top,
        mass,
        weights,
        pack(sizes, wide),
        pack(strides, wide),
        walk.lead,
        n,
        k,
        step,
        config.run,
        config.parts,
        (-(-config.run // block) - 1).bit_length(),
        unit_bits(k),
        *key_words,
        ONE_HOT=one_hot,
        BLOCK=block,
        EPS=2.0 ** (1 - SIGNIFICAND_BITS[dtype]),
        KEY=key_kind,
        HARDWARE=hardware(),
        LANES=lanes,
        TILE=tile,
        num_warps=4,
        **constants,
    )
    return outputs
