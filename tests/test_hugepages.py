"""Advice to the system about large results: where it goes, and that it changes no number."""

import pytest
import torch

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.runtime import hugepages

KEY = torch.tensor([8, 9], dtype=torch.uint64)
HUGE_PAGE = 2**21


@pytest.fixture
def advised(monkeypatch):
    """The ranges advised, as (address, bytes)."""
    ranges = []
    monkeypatch.setattr(hugepages, "_madvise", lambda start, size, advice: ranges.append((start.value, size.value)))
    return ranges


def test_only_large_results_are_advised(advised):
    hugepages.empty((hugepages.FRESH_BYTES // 4 - 1,), torch.float32)
    assert advised == []
    tensor = hugepages.empty((hugepages.FRESH_BYTES // 4,), torch.float32)
    ((start, size),) = advised
    assert start % HUGE_PAGE == size % HUGE_PAGE == 0
    assert tensor.data_ptr() <= start
    assert start + size <= tensor.data_ptr() + tensor.nbytes
    assert size > hugepages.FRESH_BYTES - 2 * HUGE_PAGE


def test_advice_changes_no_number(monkeypatch):
    normal = dist.Normal(torch.tensor(1.0), torch.tensor(2.0))
    with use_backend("compiled"):
        plain = normal.sample((2**20 + 1,), key=KEY)
        monkeypatch.setattr(hugepages, "FRESH_BYTES", 0)
        assert torch.equal(normal.sample((2**20 + 1,), key=KEY), plain)


def test_other_systems_go_without(monkeypatch):
    monkeypatch.setattr(hugepages, "_madvise", None)
    assert hugepages.empty((hugepages.FRESH_BYTES,), torch.uint8).nbytes == hugepages.FRESH_BYTES
