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
from rsample.kernels.draws.rows.ops import Race
from rsample.kernels.draws.sharded import Box, draw_box, draw_box_by_inversion
from rsample.kernels.engines.triton.launch import group_size
from rsample.kernels.stream.philox_key import Key


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
        params = [values(*shape, dtype=dtype, seed=i) for i in range(len(sampler.law.parameters))]

        def draw_part(key, params, shape):
            return (sampler.operators.from_key(key, params, shape, dtype, False),)

        per_block = sampler.law.noise.elements_per_block(dtype)
        group = 1 if looping else group_size(dtype)
        with use_backend(backend):
            whole = sampler(params, shape, key=KEY)
            (part,) = draw_box(
                draw_part, Key((KEY,)), [p[cut] for p in params], Box(shape, starts, sizes), per_block, group
            )
        assert torch.equal(part, whole[cut]), (shape, starts, sizes)


@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_any_box_of_draws_from_the_same_rows_is_one_draw(backend):
    """A box of rows, or of draws, or of both; it begins with the first or the second draw of a block."""
    choose, kind, drawn = random.Random(0), Race(from_probs=True, one_hot=False, log_prob=False), []

    def draw_part(key, params, shape):
        drawn.append(shape)
        return (kind.from_key(key, params, shape, torch.float32, False),)

    for number in range(20):
        batch = tuple(choose.choice((1, 2, 3, 5)) for _ in range(choose.randint(1, 3)))
        starts = tuple(choose.randint(0, size - 1) for size in batch)
        sizes = tuple(choose.randint(1, size - start) for size, start in zip(batch, starts, strict=True))
        cut = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
        weights = values(*(choose.choice((1, size)) for size in batch), 7)
        if weights.shape[:-1] == batch:
            continue
        local = weights[tuple(at if n > 1 else slice(None) for at, n in zip(cut, weights.shape, strict=False))]
        with use_backend(backend):
            whole = kind.from_key((KEY,), [weights], (*batch, 7), torch.float32, False)
            (part,) = draw_box_by_inversion(
                draw_part, Key((KEY,)), [local], Box((*batch, 7), (*starts, 0), (*sizes, 7))
            )
        assert torch.equal(part, whole[cut]), (number, batch, starts, sizes)
    assert len(drawn) > 10


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
