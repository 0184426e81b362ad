"""Compiled draws of every law on a GPU, with their densities and gradients: bit for bit those of eager kernels."""

import pytest
from examples import EXAMPLES

LAWS = [e.law.name for e in EXAMPLES]
# Laws that share a process: its start takes longer than a law does.
PARTS = 2


@pytest.mark.parametrize("part", range(PARTS))
def test_every_law_fuses(part, on_an_emulated_gpu):
    on_an_emulated_gpu(f"fused_draws.check_laws({LAWS[part::PARTS]})")
