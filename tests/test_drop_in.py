"""Whoever changes `torch.distributions` to `rsample.distributions` in an import finds every name there."""

import importlib
import pkgutil

import pytest
import torch
import torch.distributions as td
import type_stub

import rsample.distributions as dist
from rsample.distributions._sampling import KeyedSampling

MODULES = [module.name for module in pkgutil.iter_modules(td.__path__)]


def is_distribution(value):
    return isinstance(value, type) and issubclass(value, td.Distribution)


# What cannot be drawn from: the bases.
ABSTRACT = {td.Distribution, td.ExponentialFamily}


def expected(name, theirs):
    """What `name` of torch's has to be here."""
    if is_distribution(theirs) and theirs not in ABSTRACT:
        ours = getattr(dist, name)
        assert issubclass(ours, theirs)
        assert issubclass(ours, KeyedSampling)
        return ours
    return theirs


def test_every_public_name_is_here():
    assert set(td.__all__) <= set(dist.__all__)
    assert len(set(dist.__all__)) == len(dist.__all__)
    for name in td.__all__:
        assert getattr(dist, name) is expected(name, getattr(td, name)), name


def test_a_star_import_brings_them():
    names = {}
    exec("from rsample.distributions import *", names)
    assert names["kl_divergence"] is td.kl_divergence
    assert names["Normal"] is dist.Normal
    assert set(td.__all__) <= set(names)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_path_is_here(module):
    theirs = importlib.import_module(f"torch.distributions.{module}")
    ours = importlib.import_module(f"rsample.distributions.{module}")
    assert getattr(dist, module) is ours
    for name, value in vars(theirs).items():
        if name.startswith("__"):
            continue
        defined_there = getattr(value, "__module__", None) == theirs.__name__
        if defined_there and is_distribution(value):
            assert getattr(ours, name) is expected(name, value), name
        elif not isinstance(value, type):
            assert hasattr(ours, name), name  # each has `torch`, `Tensor` or an equal helper of its own
    names = {}
    exec(f"from rsample.distributions.{module} import *", names)
    assert set(getattr(theirs, "__all__", ())) <= set(names)


def test_modules_without_a_class_of_ours_are_torchs():
    for module in ("constraints", "constraint_registry", "kl", "transforms", "utils", "distribution"):
        assert getattr(dist, module) is getattr(td, module)


def test_private_helpers_are_torchs():
    from rsample.distributions.multivariate_normal import _batch_mahalanobis

    assert _batch_mahalanobis is td.multivariate_normal._batch_mahalanobis
    with pytest.raises(ImportError, match="no_such_name"):
        importlib.import_module("rsample.distributions.no_such_name")
    with pytest.raises(AttributeError, match="no_such_name"):
        dist.normal.no_such_name  # noqa: B018


def test_the_program_of_a_variational_autoencoder():
    posterior = dist.Normal(torch.zeros(4, requires_grad=True), torch.ones(4))
    assert isinstance(posterior, dist.Distribution)
    divergence = dist.kl_divergence(posterior, dist.Normal(torch.ones(4), 2.0))
    torch.testing.assert_close(
        divergence, td.kl_divergence(td.Normal(torch.zeros(4), 1.0), td.Normal(torch.ones(4), 2.0))
    )
    flow = dist.TransformedDistribution(posterior, [dist.transforms.TanhTransform(), dist.AffineTransform(0.0, 2.0)])
    assert flow.rsample().requires_grad
    assert dist.biject_to(dist.constraints.positive)(torch.tensor(-1.0)) > 0


def test_type_checkers_see_every_class():
    assert type_stub.FILE.read_text(encoding="utf-8") == type_stub.stub(), "`make format` writes it anew"


def test_a_chi_squared_distribution_is_a_gamma_distribution():
    chi2 = dist.Chi2(torch.tensor([1.0, 4.0]))
    gamma = dist.Gamma(torch.tensor([0.5, 2.0]), 0.5)
    assert isinstance(chi2, dist.Gamma)
    key = torch.tensor([1, 2], dtype=torch.uint64)
    assert torch.equal(chi2.sample((5,), key=key), gamma.sample((5,), key=key))
    assert dist.kl_divergence(chi2, gamma).abs().max() == 0
