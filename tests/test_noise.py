"""The specification of the noise, word by word in plain torch, against ATen's stateless kernels and the oracle."""

import oracle
import pytest
import torch

from rsample.kernels.engines.eager import elementwise as reference
from rsample.kernels.stream.compatibility import FILLS_ON_CPU
from rsample.kernels.stream.noise import NATIVE_UNIFORM, NORMAL, UNIFORM, compute_dtype

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
N = 100_003


@pytest.mark.skipif(not FILLS_ON_CPU, reason="this torch fills no CPU tensor from a key; 2.14 does")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [UNIFORM, NATIVE_UNIFORM, NORMAL], ids=lambda kind: kind.name)
@pytest.mark.parametrize("offset", [0, 2**32 - 100, 2**64 - 100])
def test_specification_is_what_aten_fills(kind, dtype, offset):
    key = torch.tensor([2**64 - 12345, offset], dtype=torch.uint64)
    specified = reference.noise(kind, key.view(torch.int64), N, dtype)
    resolution = dtype if kind.native_resolution else compute_dtype(dtype)
    filled = kind.aten_fill(torch.full((N,), torch.nan, dtype=resolution), key).to(compute_dtype(dtype))
    assert specified.dtype == compute_dtype(dtype)
    if kind is NORMAL:
        # log, sin and cos differ by a few units in the last place of numbers below 6.7 (float64: 9.5).
        bound = 1e-14 if dtype == torch.float64 else 4e-6
        assert (specified - filled).abs().max() <= bound
    else:
        assert torch.equal(specified, filled)


@pytest.mark.parametrize(("dtype", "law"), [(torch.float32, oracle.normal32), (torch.float64, oracle.normal64)])
def test_normal_specification_against_the_oracle(dtype, law):
    key = torch.tensor([7, 2**32 - 5], dtype=torch.uint64)
    specified = reference.noise(NORMAL, key.view(torch.int64), 4000, dtype)
    blocks = 4000 // (2 if dtype == torch.float64 else 4)
    expected = torch.from_numpy(law(oracle.words(7, 2**32 - 5, blocks)).reshape(-1).copy())
    assert (specified.double() - expected).abs().max() <= (1e-14 if dtype == torch.float64 else 4e-6)
