"""The noise that compiled code makes for a tile of a sample, by the numbers of its elements."""

import pytest
import torch
from kernel_cases import packed

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.engines.triton.inlined import noise_of_tile
from rsample.kernels.engines.triton.launch import hardware
from rsample.kernels.runtime.language import tl, triton
from rsample.kernels.stream.noise import UNIFORM

pytestmark = pytest.mark.kernel

ROWS, COLUMNS = 4, 128


@triton.jit
def tile_kernel(
    out_ptr,
    key_ptr,
    base,
    NOISE: tl.constexpr,
    DTYPE: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    HARDWARE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A tile of a sample, from element `base` on."""
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    number = row + ROWS * column if TRANSPOSED else COLUMNS * row + column
    index = base + number.to(tl.int64)
    u = noise_of_tile(tl.load(key_ptr), tl.load(key_ptr + 1), index, NOISE, DTYPE, 0, not TRANSPOSED, HARDWARE)
    tl.store(out_ptr + number, u)


@pytest.mark.parametrize("transposed", [False, True], ids=["by blocks", "by elements"])
@pytest.mark.parametrize("base", [0, 2**31 - 256, 2**33 + 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_of_64_bits(device, dtype, base, transposed):
    """Element n has the noise of the block n // 4, also where n, or where n is added to the offset, passes 2**32."""
    key = packed(offset=2**32 - 2**29)
    out = torch.full((ROWS * COLUMNS,), float("nan"), device=device)
    kind = tl.dtype({torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype])
    constants = (UNIFORM.device, kind, transposed, hardware(), ROWS, COLUMNS)
    tile_kernel[(1,)](out, key.to(device), base, *constants, enable_fp_fusion=False)
    with use_backend("reference"):  # the noise of a half is that of a float32 number
        zero, one = torch.zeros(ROWS * COLUMNS), torch.ones(())
        expected = dist.Uniform(zero, one).sample(key=packed(offset=2**32 - 2**29 + base // 4))
    assert torch.equal(out.cpu(), expected)
