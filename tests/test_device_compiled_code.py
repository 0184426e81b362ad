"""What the device functions for other people's kernels compile to, without a GPU."""

import pytest

from rsample.kernels.runtime.language import HAS_TRITON

if not HAS_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)

from machine_code.budgets import DEVICE
from machine_code.device import device_code, device_cost
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
