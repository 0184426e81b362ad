"""Models of other libraries, as their users write them, on accelerated torch.distributions.

`make field` installs the libraries (the extra `field`); where one is missing its tests are skipped. They are imported
by fixtures, since both change torch.distributions on import.
"""

from __future__ import annotations

import collections

import pytest
import torch
import torch.distributions as td

from rsample.kernels.draws.draw import Sampler


@pytest.fixture(scope="package")
def _validation():
    """Puts back the default of `validate_args`, which importing TorchRL turns off for the whole process."""
    validates = td.Distribution._validate_args
    yield
    td.Distribution.set_default_validate_args(validates)


@pytest.fixture(scope="package")
def pyro(_validation):
    return pytest.importorskip("pyro", reason="needs Pyro, which `make field` installs")


@pytest.fixture(scope="package")
def torchrl(_validation):
    # TorchRL has code compiled against one version of torch, which may not load with this one.
    return pytest.importorskip(
        "torchrl.modules", reason="needs TorchRL, which `make field` installs", exc_type=(ImportError, OSError)
    )


@pytest.fixture
def laws(monkeypatch):
    """How often each law has been drawn."""
    counts: collections.Counter[str] = collections.Counter()
    call, by_core = Sampler.__call__, Sampler.by_core

    # What is accelerated asks the native core first, and so does a call.
    def counted_by_core(self, *args):
        drawn = by_core(self, *args)
        counts[self.law.name] += drawn is not None
        return drawn

    def counted(self, *args, **options):
        before = counts[self.law.name]
        drawn = call(self, *args, **options)
        counts[self.law.name] = before + 1
        return drawn

    monkeypatch.setattr(Sampler, "__call__", counted)
    monkeypatch.setattr(Sampler, "by_core", counted_by_core)
    return counts


@pytest.fixture(autouse=True)
def _seeded_and_unaccelerated_at_the_end():
    torch.manual_seed(20261128)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small models wait for each other's threads
    before = {cls: dict(vars(cls)) for cls in (td.Normal, td.Beta, td.Gamma, td.Categorical)}
    yield
    torch.set_num_threads(threads)
    assert {cls: dict(vars(cls)) for cls in before} == before
