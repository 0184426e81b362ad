"""What the tests of the kernels share: a key, parameters, and how exact the noise must be."""

import torch

# The first block of a carry out of the counter's low word lies inside the first tile.
SEED, OFFSET = 2**63 + 12345, 2**32 - 100

# How far device noise may lie from torch's. The emulator rounds its approximate functions correctly, a GPU does not:
# there the stream contract holds, of which a pessimistic model of the hardware needs 5.9e-6.
NOISE_BOUND = {torch.float32: 2e-5 if torch.cuda.is_available() else 4e-6, torch.float64: 8e-15}


def packed(seed=SEED, offset=OFFSET):
    return torch.tensor([seed, offset], dtype=torch.uint64)


def values(shape, dtype, device, low=0.2, high=0.8, seed=0):
    """Numbers in [low, high), valid for every parameter here."""
    random = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (random * (high - low) + low).to(dtype).to(device)
