"""What the compiler makes of the kernels of draws over rows: every target, and instructions a category on sm_90."""

import re

import pytest
import torch

from rsample.kernels.language import HAS_TRITON, triton

if not HAS_TRITON or triton.knobs.runtime.interpret:
    pytest.skip(
        "the interpreter compiles nothing" if HAS_TRITON else "Triton is not installed", allow_module_level=True
    )

from sass import TARGETS, Sass, compile_for

from rsample.kernels.launch import group_size
from rsample.kernels.rows import race, relaxed

NAMES = {torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16", torch.float16: "fp16"}
F32, F64, BF16, F16 = NAMES
KEY = {
    "seed_ptr": None,
    "offset_ptr": None,
    "in_memory": "i32",
    "k0": "u32",
    "k1": "u32",
    "offset": "u64",
    "KEY": "value",
}
ROWS = {"sizes": ("i32",), "strides": ("i32",), "rows": "i64", "k": "i64", "step": "i64"}


def race_code(dtype, target="sm_90", *, from_probs=False, output="part", log_prob=False, even=False, lanes_per_row=128):
    name, compute = NAMES[dtype], "fp64" if dtype == F64 else "fp32"
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
        "UNROLL": race.UNROLL,
    }
    return compile_for(race.race_kernel, arguments, target, 4)


def finish_code(dtype, target, output):
    name, compute = NAMES[dtype], "fp64" if dtype == F64 else "fp32"
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


def relaxed_code(dtype, target, phase):
    name, compute = NAMES[dtype], "fp64" if dtype == F64 else "fp32"
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


def hot_loop(sass):
    """The loop over full tiles: the one with the most 16-byte loads."""
    return max(sass.loops, key=lambda body: sum(re.match(r"LDG\b.*\.128", i.opcode) is not None for i in body))


def count(body, pattern):
    return sum(re.match(pattern, i.opcode) is not None for i in body)


@pytest.mark.parametrize(
    ("dtype", "from_probs", "log_prob", "budget"),
    [
        (F32, False, False, 22.5),
        (F32, True, False, 22.5),
        (BF16, False, False, 23.5),
        (F32, False, True, 30),
    ],
)
def test_cost_of_a_race(dtype, from_probs, log_prob, budget, record_property):
    sass = Sass(race_code(dtype, from_probs=from_probs, log_prob=log_prob))
    body = hot_loop(sass)
    categories = race.UNROLL * group_size(dtype)
    cost = len(body) / categories
    what = f"race, {'probs' if from_probs else 'logits'}{' and log_prob' * log_prob}, {NAMES[dtype]}"
    line = f"{what}: {cost:.2f} instructions a category (at most {budget}), {sass.resources['REG']} registers"
    record_property("cost", line)
    print(line)
    assert cost <= budget
    # One basic block, whose every access is 128 bits wide, and that uses registers only.
    assert count(body, "BRA") == 1
    assert count(body, "LDG") == count(body, r"LDG\.E\.128") == race.UNROLL
    assert count(body, "(LDS|STS|BAR|SHFL|LDL|STL|CALL|BSSY|BSYNC|STG)") == 0
    assert sass.resources["STACK"] == sass.resources["LOCAL"] == 0
    # Philox: 16 wide multiplications of the last eight rounds, one of the second and at most one of the first.
    assert 17 * categories // 4 <= count(body, r"IMAD\.WIDE") <= 19 * categories // 4


EVERYWHERE = [
    (lambda target: race_code(F32, target, output="one_hot", log_prob=True)),
    (lambda target: race_code(F64, target, from_probs=True, log_prob=True, even=True, lanes_per_row=16)),
    (lambda target: finish_code(F16, target, "one_hot")),
    (lambda target: relaxed_code(F32, target, "tile")),
    (lambda target: relaxed_code(BF16, target, "write")),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("make", EVERYWHERE)
def test_every_target_compiles(make, target):
    binary = make(target).asm
    assert binary["hsaco" if target.startswith("gfx") else "cubin"]
