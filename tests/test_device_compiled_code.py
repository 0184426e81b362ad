"""What the device functions for other people's kernels, and the examples that use them, compile to, without a GPU."""

import pytest

from rsample.kernels.runtime.language import HAS_TRITON

if not HAS_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)

from machine_code.budgets import DEVICE, FUSED
from machine_code.device import device_code, device_cost
from machine_code.fused import fused_code, fused_cost
from machine_code.sass import Sass


@pytest.mark.parametrize("name", DEVICE)
def test_cost_of_a_number(name, record_property):
    sass = Sass(device_code(name))
    record_property("instructions", device_cost(sass))
    assert device_cost(sass) <= DEVICE[name]
    assert sass.access_bits == 128
    assert sass.resources["LOCAL"] == sass.resources["STACK"] == sass.resources["SHARED"] == 0


def test_they_compile_for_amd():
    assert ".private_segment_fixed_size: 0" in device_code("normal", "gfx942").asm["amdgcn"]  # no local memory


@pytest.mark.parametrize(("module", "kernel"), FUSED)
def test_cost_of_an_example(module, kernel, record_property):
    sass = Sass(fused_code(module, kernel))
    record_property("instructions", fused_cost(module, sass))
    assert fused_cost(module, sass) <= FUSED[module, kernel]
    assert sass.count(r"(ST|LD)G\b.*\.(128|64)") >= 2
    assert sass.resources["LOCAL"] == sass.resources["STACK"] == 0
