"""What the compiler makes of the kernels of draws that loop: every target, and instructions on sm_90."""

import pytest
import torch

from rsample.kernels.runtime.language import HAS_TRITON, triton

if not HAS_TRITON or triton.knobs.runtime.interpret:
    pytest.skip(
        "the interpreter compiles nothing" if HAS_TRITON else "Triton is not installed", allow_module_level=True
    )

from machine_code import budgets
from machine_code.loops import loop_backward_code, loop_cost, loop_forward_code
from machine_code.sass import TARGETS, Sass
from side_by_side import side_by_side

from rsample.kernels.laws import known_laws
from rsample.kernels.laws.gamma import GAMMA_LAW
from rsample.kernels.laws.rejection.noise import LoopNoise
from rsample.kernels.stream.layout import DENSE, SCALAR

F32, F64, BF16 = torch.float32, torch.float64, torch.bfloat16
LAWS = {name: law for name, law in known_laws().items() if isinstance(law.noise, LoopNoise)}


@pytest.mark.parametrize(("case", "budget"), budgets.LOOPS.items(), ids=str)
def test_cost_of_a_sample(case, budget, record_property):
    name, dtype = case
    law = LAWS[name]
    sass = Sass(loop_forward_code(law, getattr(torch, dtype), (DENSE,) * len(law.parameters)))
    line = f"{name}, {dtype}: {loop_cost(sass):.0f} instructions per sample (at most {budget})"
    record_property("cost", line)
    print(line)
    assert loop_cost(sass) <= budget


def test_cost_of_an_attempt_at_a_gamma_number():
    sass = Sass(loop_forward_code(GAMMA_LAW, F32, (DENSE, DENSE)))
    whole_round = min(sass.loops, key=len)
    print(f"{len(whole_round) / 2} instructions per attempt (at most {budgets.GAMMA_ATTEMPT})")
    assert len(whole_round) / 2 <= budgets.GAMMA_ATTEMPT
    # One block's wide multiplications, less those that a counter word of 0 spares.
    assert 16 <= sum(i.opcode.startswith("IMAD.WIDE") for i in whole_round) <= 20


@pytest.mark.parametrize("name", LAWS)
def test_registers_are_enough(name):
    law = LAWS[name]
    jobs = [lambda: Sass(loop_forward_code(law, F32, (DENSE,) * len(law.parameters)))]
    if law is GAMMA_LAW:  # parameters that are one number need fewer
        jobs += [lambda: Sass(loop_forward_code(law, BF16, (SCALAR,) * len(law.parameters)))]
    if law.cotangents:
        jobs += [lambda: Sass(loop_backward_code(law, F32, ("elements",) * len(law.parameters)))]
    for sass in side_by_side(jobs):
        assert sass.count("(LDL|STL|CALL)") == 0
        assert sass.resources["STACK"] == sass.resources["LOCAL"] == sass.resources["SHARED"] == 0


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_compiles(target):
    binary = loop_forward_code(GAMMA_LAW, F64, (SCALAR, DENSE), target).asm
    assert binary["hsaco" if target.startswith("gfx") else "cubin"]
