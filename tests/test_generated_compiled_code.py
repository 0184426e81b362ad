"""What a draw compiles to in a kernel of Inductor's, without a GPU."""

import pytest
import torch

from rsample.kernels.runtime.language import HAS_TRITON

if not HAS_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)

from machine_code.budgets import COMPILED
from machine_code.compiled import generated_code, generated_cost
from machine_code.sass import Sass


@pytest.mark.parametrize("dtype", COMPILED)
def test_cost_of_a_sample(dtype, record_property):
    """Each lane makes the numbers that it stores, 16 bytes at once: nothing goes between lanes."""
    sass = Sass(generated_code("sm_90", getattr(torch, dtype)))
    record_property("instructions", generated_cost(sass))
    assert generated_cost(sass) <= COMPILED[dtype]
    assert sass.count(r"LDG\.E\.128") == 2 * sass.count(r"STG\.E\.128") > 0
    assert sass.resources["LOCAL"] == sass.resources["STACK"] == sass.resources["SHARED"] == 0


def test_it_compiles_for_amd():
    assert ".private_segment_fixed_size: 0" in generated_code("gfx942").asm["amdgcn"]  # no local memory
