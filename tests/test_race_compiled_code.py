"""What the compiler makes of the kernels of draws over rows: every target, and instructions per category on sm_90."""

import pytest
import torch

from rsample.kernels.runtime.language import HAS_TRITON, triton

if not HAS_TRITON or triton.knobs.runtime.interpret:
    pytest.skip(
        "the interpreter compiles nothing" if HAS_TRITON else "Triton is not installed", allow_module_level=True
    )

from machine_code.budgets import RACE
from machine_code.rows import finish_code, race_code, relaxed_code, running_sums_code, search_code
from machine_code.sass import TARGETS, Sass

from rsample.kernels.engines.triton import row_tiles
from rsample.kernels.engines.triton.launch import group_size

F32, F64, BF16, F16 = torch.float32, torch.float64, torch.bfloat16, torch.float16


@pytest.mark.parametrize(("case", "budget"), RACE.items(), ids=str)
def test_cost_of_a_race(case, budget, record_property):
    name, parameter, kernel = case
    dtype = getattr(torch, name)
    sass = Sass(race_code(dtype, from_probs=parameter == "probs", log_prob=kernel == "joint"))
    categories = row_tiles.UNROLL * group_size(dtype)
    instructions = len(sass.hot_loop) / categories
    found = f"{instructions:.2f} instructions per category (at most {budget}), {sass.resources['REG']} registers"
    line = f"race, {' '.join(case)}: {found}"
    record_property("cost", line)
    print(line)
    assert instructions <= budget
    # One basic block, whose every access is 128 bits wide, and that uses registers only.
    assert sass.count("BRA", hot=True) == 1
    assert sass.count("LDG", hot=True) == sass.count(r"LDG\.E\.128", hot=True) == row_tiles.UNROLL
    assert sass.count("(LDS|STS|BAR|SHFL|LDL|STL|CALL|BSSY|BSYNC|STG)", hot=True) == 0
    assert sass.resources["STACK"] == sass.resources["LOCAL"] == 0
    # Philox: 16 wide multiplications of the last eight rounds, one of the second and at most one of the first.
    assert 17 * categories // 4 <= sass.count(r"IMAD\.WIDE", hot=True) <= 19 * categories // 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: running_sums_code(F32),
        lambda: running_sums_code(F64),
        lambda: search_code(F32),
        lambda: search_code(F32, block=2048),
        lambda: search_code(BF16, one_hot=True),
    ],
)
def test_inversion_uses_registers_only(make):
    sass = Sass(make())
    assert sass.resources["STACK"] == sass.resources["LOCAL"] == 0
    # Nothing is fused: products and sums of weights are rounded as on every other device.
    assert sass.count("(FFMA|DFMA)") == 0


EVERYWHERE = [
    (lambda target: race_code(F32, target, output="one_hot", log_prob=True)),
    (lambda target: race_code(F64, target, from_probs=True, log_prob=True, even=True, lanes_per_row=16)),
    (lambda target: finish_code(F16, target, "one_hot")),
    (lambda target: running_sums_code(F32, target, log_prob=True)),
    (lambda target: search_code(F16, target, one_hot=True, log_prob=True, block=2048)),
    (lambda target: relaxed_code(F32, target, "tile")),
    (lambda target: relaxed_code(BF16, target, "write")),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("make", EVERYWHERE)
def test_every_target_compiles(make, target):
    binary = make(target).asm
    assert binary["hsaco" if target.startswith("gfx") else "cubin"]
