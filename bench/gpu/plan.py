"""How much each part does: all of it, or little of everything where the GPU computes nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Plan:
    """Sizes of the parts.

    Attributes:
        workers: processes that compile, check and test at the same time.
        check_numel: samples of a check.
        copy_bytes: of the copy whose bandwidth is the ceiling.
        tests: pytest's expression (-k) for those of the tests marked `cuda` or `kernel` to run; "" for all.
        exponents: timings are of 2**e samples, for e in each group of sizes; the first group goes first.
        dtypes: of timings and tuning.
        draws: the first so many of the draws are timed.
        budget: seconds of timing a case, where `min_rounds` fit in them.
        tuned_numel: samples of the tuning table, for the configurations of `warps`, `unrolls` and `passes` in it.
    """

    workers: int
    check_numel: int
    copy_bytes: int
    tests: str
    exponents: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]
    draws: int
    budget: float
    min_rounds: int
    tuned_numel: int
    warps: tuple[int, ...]
    unrolls: tuple[int, ...]
    passes: tuple[int, ...]


CORES = os.cpu_count() or 1

# 2**26 samples do not fit into any cache, and 2**24 are the first that a launch is tuned for.
FULL = Plan(
    workers=max(CORES - 2, 1),
    check_numel=2**20,
    copy_bytes=2**32,
    tests="",
    exponents=((26, 24), (20, 16, 12)),
    dtypes=(torch.float32, torch.bfloat16),
    draws=99,
    budget=0.25,
    min_rounds=7,
    tuned_numel=2**26,
    warps=(2, 4, 8),
    unrolls=(4, 10, 16),
    passes=(1, 4, 10),
)

REHEARSAL = Plan(
    workers=CORES,
    check_numel=2**12,
    copy_bytes=2**20,
    tests="cuda or test_manual_seed or test_vmap_is_one_launch or test_extreme_weights or test_nan_ends_the_loop",
    exponents=((16,), (12,)),
    dtypes=(torch.float32,),
    draws=5,
    budget=0.01,
    min_rounds=2,
    tuned_numel=2**16,
    warps=(4,),
    unrolls=(4,),
    passes=(1, 4),
)
