"""Boxes of a sample; and draws of DTensors on two and four processes, whose cases are those of sharded_cases.py."""

import functools
import random
import tempfile
from pathlib import Path

import pytest
import torch
import torch.multiprocessing

if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("this torch has no torch.distributed with gloo", allow_module_level=True)

from sharded_cases import CASES, KEY, run_cases, values

from rsample.distributions import Exponential, Gamma, Normal
from rsample.kernels import use_backend
from rsample.kernels.launch import group_size
from rsample.kernels.sharded import Box, draw_box


@pytest.mark.parametrize("backend", ["reference", "compiled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", [Normal, Exponential, Gamma])
def test_any_box_is_part_of_the_sample(family, dtype, backend):
    sampler, choose = family._samplers[0], random.Random(0)
    looping = family is Gamma
    for _ in range(10):
        shape = tuple(choose.choice((1, 2, 3, 5, 8, 12)) for _ in range(choose.randint(1, 4)))
        starts = tuple(choose.randint(0, size - 1) for size in shape)
        sizes = tuple(choose.randint(1, size - start) for size, start in zip(shape, starts, strict=True))
        cut = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
        params = [values(*shape, dtype=dtype, seed=i) for i in range(len(sampler.map.parameters))]

        def draw_part(key, params, shape):
            return (sampler.from_key(key, params, shape, dtype, False),)

        per_block = sampler.map.noise.elements_per_block(dtype)
        group = 1 if looping else group_size(dtype)
        with use_backend(backend):
            whole = sampler(params, shape, key=KEY)
            (part,) = draw_box(draw_part, (KEY,), [p[cut] for p in params], Box(shape, starts, sizes), per_block, group)
        assert torch.equal(part, whole[cut]), (shape, starts, sizes)


@functools.cache
def raised_in_world(ranks):
    """What each rank's cases raised, by their names: a traceback, or a tuple with the reason to skip one."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(run_cases, (ranks, folder), nprocs=ranks)
        return [torch.load(Path(folder, f"raised{rank}")) for rank in range(ranks)]


@pytest.mark.parametrize(
    ("ranks", "name"), [(ranks, function.__name__) for ranks, cases in CASES.items() for function in cases]
)
def test_sharded(ranks, name):
    for rank, raised in enumerate(raised_in_world(ranks)):
        if isinstance(raised.get(name), tuple):
            pytest.skip(*raised[name])
        assert name not in raised, f"rank {rank}:\n{raised[name]}"
