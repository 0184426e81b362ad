"""The kernels of draws over rows of categories as a launch compiles them."""

from __future__ import annotations

from typing import Any

import torch

from rsample.kernels.engines.triton import inversion, race, relaxed, row_tiles
from rsample.kernels.engines.triton.launch import group_size

from .elementwise import KEY, TRITON_NAMES, partial_sums
from .sass import compile_for

ROWS = {"sizes": ("i32",), "strides": ("i32",), "rows": "i64", "k": "i64", "step": "i64"}


def race_code(
    dtype: torch.dtype,
    target: str = "sm_90",
    *,
    from_probs: bool = False,
    output: str = "part",
    log_prob: bool = False,
    even: bool = False,
    lanes_per_row: int = 128,
) -> Any:
    """The race, by default over a part of a row; `even`: every row begins at a multiple of a group."""
    name, compute = TRITON_NAMES[dtype], partial_sums(dtype)
    part = output == "part"
    arguments = {
        "out_ptr": f"*{name}" if output == "one_hot" else "*i64",
        "log_prob_ptr": f"*{name}" if log_prob and not part else None,
        "score_ptr": f"*{compute}" if part else None,
        "top_ptr": f"*{compute}" if part and log_prob else None,
        "total_ptr": f"*{compute}" if part and log_prob else None,
        "weights_ptr": f"*{name}",
        **ROWS,
        "run": "i32",
        **KEY,
        "SCORE": race.probs_score if from_probs else race.logits_score,
        "FROM_PROBS": from_probs,
        "OUTPUT": output,
        "LOG_PROB": log_prob,
        "EPS": 2.0**-23,
        "ALIGNED": True,
        "EVEN": even,
        "WIDE": False,
        "HARDWARE": not target.startswith("gfx"),
        "LANES": 128,
        "LPR": lanes_per_row,
        "UNROLL": row_tiles.UNROLL,
    }
    return compile_for(race.race_kernel, arguments, target, 4)


def finish_code(dtype: torch.dtype, target: str, output: str) -> Any:
    """What makes a winner of the parts' winners."""
    name, compute = TRITON_NAMES[dtype], partial_sums(dtype)
    arguments = {
        "out_ptr": f"*{name}" if output == "one_hot" else "*i64",
        "log_prob_ptr": f"*{name}",
        "index_ptr": "*i64",
        **{f"{p}_ptr": f"*{compute}" for p in ("score", "top", "total")},
        "weights_ptr": f"*{name}",
        **ROWS,
        "parts": "i32",
        "FROM_PROBS": False,
        "OUTPUT": output,
        "LOG_PROB": True,
        "EPS": 2.0**-23,
        "EVEN": False,
        "WIDE": False,
        "GROUP": group_size(dtype),
        "TILE": 128 * group_size(dtype),
        "PARTS": 16,
    }
    return compile_for(race.race_finish_kernel, arguments, target, 4)


def running_sums_code(dtype: torch.dtype, target: str = "sm_90", *, log_prob: bool = False) -> Any:
    """The tables of running sums of long rows' weights, which are logits."""
    compute = partial_sums(dtype)
    arguments = {
        "sums_ptr": "*i64",
        "totals_ptr": "*i64",
        "top_ptr": f"*{compute}" if log_prob else None,
        "mass_ptr": f"*{compute}" if log_prob else None,
        "weights_ptr": f"*{TRITON_NAMES[dtype]}",
        **ROWS,
        "run": "i64",
        "bits": "i32",
        "FROM_PROBS": False,
        "LOG_PROB": log_prob,
        "BLOCKS": False,
        "WIDE": False,
        "ROWS": 1,
        "TILE": inversion.TABLE_TILE,
    }
    return compile_for(inversion.running_sums_kernel, arguments, target, 8)


def search_code(
    dtype: torch.dtype, target: str = "sm_90", *, one_hot: bool = False, log_prob: bool = False, block: int = 1
) -> Any:
    """The search of draws in tables of running sums, or of sums of blocks."""
    name, compute = TRITON_NAMES[dtype], partial_sums(dtype)
    arguments = {
        "out_ptr": f"*{name}" if one_hot else "*i64",
        "log_prob_ptr": f"*{name}" if log_prob else None,
        "sums_ptr": "*i64",
        "totals_ptr": "*i64",
        "top_ptr": f"*{compute}" if log_prob or block > 1 else None,
        "mass_ptr": f"*{compute}" if log_prob else None,
        "weights_ptr": f"*{name}",
        **ROWS,
        "strides": ("i32",) * 3,
        "lead": "i64",
        "n": "i64",
        "run": "i64",
        "parts": "i32",
        "halvings": "i32",
        "bits": "i32",
        **KEY,
        "FROM_PROBS": False,
        "ONE_HOT": one_hot,
        "LOG_PROB": log_prob,
        "BLOCK": block,
        "EPS": 2.0**-23,
        "WIDE": False,
        "HARDWARE": not target.startswith("gfx"),
        "LANES": min(16 if one_hot else 128, inversion.SEARCH_ELEMENTS // block),
        "TILE": 512 if one_hot else 1,
    }
    return compile_for(inversion.search_kernel, arguments, target, 4)


def relaxed_code(dtype: torch.dtype, target: str, phase: str) -> Any:
    """A relaxed draw in one phase, "tile" for rows that fit in one, or one of the phases of longer rows."""
    name, compute = TRITON_NAMES[dtype], partial_sums(dtype)
    arguments = {
        "out_ptr": f"*{name}",
        "log_prob_ptr": f"*{name}",
        **{f"{p}_ptr": f"*{compute}" for p in ("top", "total", "sums")},
        "logits_ptr": f"*{name}",
        "temperature_ptr": f"*{name}",
        **ROWS,
        "run": "i32",
        "parts": "i32",
        "log_prob_constant": "fp64",
        **KEY,
        "EXPONENTIATED": True,
        "LOG_PROB": True,
        "PHASE": phase,
        "ALIGNED": True,
        "EVEN": True,
        "WIDE": False,
        "HARDWARE": not target.startswith("gfx"),
        "LANES": 128,
        "LPR": 32 if phase == "tile" else 128,
        "PARTS": 16,
    }
    return compile_for(relaxed.relaxed_kernel, arguments, target, 4)
