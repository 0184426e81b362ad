"""Device functions for other people's kernels: the numbers of eager draws with the same key."""

import pytest
import torch

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.runtime.language import HAS_TRITON, tl, triton
from rsample.kernels.stream.philox import philox_blocks

if not HAS_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)

from rsample.kernels import device as rs

N, BLOCK = 4096, 1024
# A seed of 64 bits; blocks whose numbers carry into the second counter word in the middle of the sample.
SEED, OFFSET = 2**63 + 12345, 2**32 - 300
KEY = torch.tensor([SEED, OFFSET], dtype=torch.uint64)
PROBS = torch.linspace(0, 1, N)

# What is drawn eagerly, from which dtype of number; how far apart they may be, relative and absolute.
NOISES = {
    "uniform": (lambda like: dist.Uniform(0 * like, 1 + like), 0.0, 0.0),
    "normal": (lambda like: dist.Normal(0 * like, 1 + like), 0.0, 2e-5),
    "exponential": (lambda like: dist.Exponential(1 + like), 2e-5, 0.0),
    "gumbel": (lambda like: dist.Gumbel(0 * like, 1 + like), 0.0, 3e-5),
}


@triton.jit
def ranges_kernel(out_ptr, seed, offset, DRAW: tl.constexpr, BLOCK: tl.constexpr, DTYPE: tl.constexpr):
    start = tl.program_id(0) * BLOCK
    tl.store(out_ptr + start + tl.arange(0, BLOCK), DRAW(seed, offset, start, BLOCK, DTYPE))


@triton.jit
def elements_kernel(out_ptr, index_ptr, seed, offset, DRAW: tl.constexpr, BLOCK: tl.constexpr, DTYPE: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + i, DRAW(seed, offset, tl.load(index_ptr + i), DTYPE))


@triton.jit
def bits_kernel(out_ptr, seed, offset, DRAW: tl.constexpr, BLOCK: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * BLOCK
    tl.store(out_ptr + start + tl.arange(0, BLOCK), DRAW(seed, offset, start, BLOCK).to(tl.int64))


@triton.jit
def bernoulli_kernel(out_ptr, at_ptr, probs_ptr, seed, offset, BLOCK: tl.constexpr):
    start = tl.program_id(0) * BLOCK
    i = start + tl.arange(0, BLOCK)
    probs = tl.load(probs_ptr + i)
    tl.store(out_ptr + i, rs.bernoulli(seed, offset, start, probs, BLOCK).to(tl.float32))
    tl.store(at_ptr + i, rs.bernoulli_at(seed, offset, i, probs).to(tl.float32))


def eager(distribution):
    with use_backend("reference"):
        return distribution.sample(key=KEY)


def type_of(dtype):
    return tl.float64 if dtype == torch.float64 else tl.float32


@pytest.mark.kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NOISES)
def test_noise_is_that_of_eager_draws(name, dtype, device):
    make, rtol, atol = NOISES[name]
    expected = eager(make(torch.zeros(N, dtype=dtype)))
    if dtype == torch.float64:
        rtol, atol = (0.0, 0.0) if name == "uniform" else (1e-14, 1e-13)
    out = torch.full((N,), torch.nan, dtype=dtype, device=device)
    ranges_kernel[(N // BLOCK,)](out, SEED, OFFSET, getattr(rs, name), BLOCK, type_of(dtype), enable_fp_fusion=False)
    torch.testing.assert_close(out.cpu(), expected, rtol=rtol, atol=atol)
    index = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    at = torch.full_like(out, torch.nan)
    args = (at, index.to(device), SEED, OFFSET, getattr(rs, f"{name}_at"), BLOCK, type_of(dtype))
    elements_kernel[(N // BLOCK,)](*args, enable_fp_fusion=False)
    assert torch.equal(at.cpu(), out.cpu()[index])


@pytest.mark.kernel
def test_rademacher_numbers_are_signs_of_a_bernoulli_draw(device):
    expected = 2 * eager(dist.Bernoulli(torch.full((N,), 0.5))) - 1
    for draw, kernel, index in (
        (rs.rademacher, ranges_kernel, ()),
        (rs.rademacher_at, elements_kernel, (torch.arange(N),)),
    ):
        out = torch.full((N,), torch.nan, device=device)
        index = [i.to(device) for i in index]
        kernel[(N // BLOCK,)](out, *index, SEED, OFFSET, draw, BLOCK, tl.float32, enable_fp_fusion=False)
        assert torch.equal(out.cpu(), expected)


@pytest.mark.kernel
def test_bernoulli_numbers_are_those_of_eager_draws(device):
    out, at = (torch.full((N,), torch.nan, device=device) for _ in range(2))
    bernoulli_kernel[(N // BLOCK,)](out, at, PROBS.to(device), SEED, OFFSET, BLOCK, enable_fp_fusion=False)
    expected = eager(dist.Bernoulli(PROBS))
    assert torch.equal(out.cpu(), expected)
    assert torch.equal(at.cpu(), expected)


@pytest.mark.kernel
@pytest.mark.parametrize("width", [32, 16])
def test_bits_are_the_words_of_the_blocks(width, device):
    blocks = N * width // 128
    number = torch.arange(OFFSET, OFFSET + blocks)
    words = torch.stack(philox_blocks(KEY.view(torch.int64)[0], number), -1).flatten()
    expected = words if width == 32 else torch.stack((words & 0xFFFF, words >> 16), -1).flatten()
    out = torch.full((N,), -1, dtype=torch.int64, device=device)
    draw = rs.bits if width == 32 else rs.bits16
    bits_kernel[(N // BLOCK,)](out, SEED, OFFSET, draw, BLOCK, enable_fp_fusion=False)
    assert torch.equal(out.cpu(), expected)
