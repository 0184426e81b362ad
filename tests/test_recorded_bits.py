"""The same key gives the same numbers on every version of torch and Triton: those in recorded_bits.txt.

A line there is a draw, its dtype and the bits of its numbers, in hexadecimal. `python tests/test_recorded_bits.py`
prints the file; it changes with the stream contract alone.
"""

from pathlib import Path

import pytest
import torch

import rsample.distributions as dist
from rsample.kernels import use_backend

RECORD = Path(__file__).parent / "recorded_bits.txt"
# The low word of the block number carries inside of each draw.
KEY = torch.tensor([0x0123456789ABCDEF, 2**32 - 3], dtype=torch.uint64)
BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.int64: torch.int64}
N = 24

# Parameters are exact in both dtypes.
DRAWS = {
    "uniform": lambda like: dist.Uniform(torch.zeros_like(like), torch.ones_like(like)),
    "normal": lambda like: dist.Normal(torch.zeros_like(like), torch.ones_like(like)),
    "bernoulli": lambda like: dist.Bernoulli(torch.full_like(like, 0.5)),
    "gamma": lambda like: dist.Gamma(1 + torch.arange(N).to(like) / 4, torch.ones_like(like)),
    "categorical": lambda like: dist.Categorical(logits=(torch.arange(9 * N) % 8).to(like).reshape(N, 9) / 4),
    "categoricals": lambda like: dist.Categorical(logits=torch.arange(9).to(like) / 4).expand((N,)),
}
# Numbers that take a logarithm, an exponential or a sine may differ in their last places, where devices do. A normal
# number then is off by at most 2e-5, one of two bytes by a rounding to its neighbour.
CLOSE = {
    ("normal", torch.float32): {"rtol": 0, "atol": 2e-5},
    ("normal", torch.bfloat16): {"rtol": 2**-7, "atol": 2e-5},
    ("gamma", torch.float32): {"rtol": 2e-5, "atol": 0},
    ("gamma", torch.bfloat16): {"rtol": 2**-7, "atol": 0},
}


def drawn(name, dtype, device="cpu"):
    return DRAWS[name](torch.zeros(N, dtype=dtype, device=device)).sample(key=KEY).cpu()


def recorded():
    """(name, dtype, sample) of every line."""
    for line in RECORD.read_text().splitlines():
        name, dtype, *numbers = line.split()
        dtype = getattr(torch, dtype)
        of = torch.int64 if name.startswith("categorical") else dtype
        bits = torch.tensor([int(number, 16) for number in numbers])
        width = 8 * of.itemsize
        signed = bits if width == 64 else (bits ^ (1 << (width - 1))) - (1 << (width - 1))
        yield name, dtype, signed.to(BITS[of]).view(of)


def check(name, dtype, expected, device="cpu"):
    sample = drawn(name, dtype, device)
    assert (sample.dtype, sample.shape) == (expected.dtype, expected.shape)
    if (name, dtype) in CLOSE:
        torch.testing.assert_close(sample, expected, **CLOSE[name, dtype])
    else:
        assert torch.equal(sample, expected)


RECORDED = list(recorded())


def test_every_draw_is_recorded():
    assert [(name, dtype) for name, dtype, _ in RECORDED] == [(name, d) for d in list(BITS)[:2] for name in DRAWS]


@pytest.mark.parametrize("backend", ["reference", "compiled"])
@pytest.mark.parametrize(("name", "dtype", "expected"), RECORDED)
def test_on_the_cpu(name, dtype, expected, backend):
    with use_backend(backend):
        check(name, dtype, expected)


@pytest.mark.kernel
@pytest.mark.parametrize(("name", "dtype", "expected"), RECORDED)
def test_on_triton(name, dtype, expected, device):
    with use_backend("triton"):
        check(name, dtype, expected, device)


if __name__ == "__main__":
    with use_backend("compiled"):
        for dtype in list(BITS)[:2]:
            for name in DRAWS:
                sample = drawn(name, dtype)
                digits = 2 * sample.dtype.itemsize
                numbers = [f"{n % 16**digits:0{digits}x}" for n in sample.view(BITS[sample.dtype]).tolist()]
                print(name, str(dtype).removeprefix("torch."), *numbers)
