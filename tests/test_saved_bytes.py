"""What draws keep for their backward pass: nothing that grows with the sample, with the exceptions listed here."""

import pytest
import torch
from cases import FAMILIES
from every_class import CLASSES
from saved_bytes import saved_bytes, saved_for_backward

import rsample.distributions as dist
from rsample.kernels.draws import native_core

# Their log_prob is of the finished sample, and keeps what it is made of; but those of Gamma and Chi2 keep nothing.
LOG_PROB_KEEPS = {"LogisticNormal", "LowRankMultivariateNormal", "Wishart"}
LOG_PROB_KEEPS |= {cls.__name__ for cls in CLASSES if hasattr(cls, "_samplers") and cls._samplers[0].with_score is None}
LOG_PROB_KEEPS -= {"Gamma", "Chi2"}
# What they map onto the simplex, of which they have no key.
DRAW_KEEPS = {"LogisticNormal"}
# What has no draw of its own.
COMBINATORS = {"Independent", "TransformedDistribution"}
REPARAMETERISED = [name for name in FAMILIES if name not in COMBINATORS and getattr(dist, name).has_rsample]


@pytest.mark.parametrize("name", REPARAMETERISED)
@pytest.mark.parametrize(("log_prob", "exceptions"), [(False, DRAW_KEEPS), (True, LOG_PROB_KEEPS | DRAW_KEEPS)])
def test_nothing_is_kept_beside_parameters_and_outputs(name, log_prob, exceptions):
    rows = saved_bytes(name, log_prob=log_prob)
    assert rows
    for row in rows:
        # An exception that keeps nothing any more must be taken off the list.
        assert (row.rsample > 0) == (name in exceptions)


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - set(REPARAMETERISED)))
def test_nothing_is_said_of_what_has_no_rsample_of_its_own(name):
    assert saved_bytes(name) == []


@pytest.mark.parametrize(
    ("name", "of_sample", "with_log_prob"),
    [
        # rsample keeps eps; log_prob keeps value - loc, and its square.
        ("Normal", 4, 12),
        ("Laplace", 8, 16),
        ("Kumaraswamy", 12, 48),
        # rsample keeps the uniform numbers; log_prob only compares.
        ("Uniform", 4, 4),
    ],
)
def test_what_torch_keeps(name, of_sample, with_log_prob):
    """Whole float32 tensors of the sample's size."""
    for log_prob, expected in ((False, of_sample), (True, with_log_prob)):
        assert [row.torch for row in saved_bytes(name, log_prob=log_prob)] == [expected]


def test_a_draw_keeps_its_key_alone(monkeypatch):
    monkeypatch.setattr(native_core, "CORE", None)  # whose node has the key as two numbers, of which hooks see nothing
    loc, scale = (torch.ones(3, requires_grad=True) for _ in range(2))
    for size in (10, 1000):
        # (seed, offset): two numbers of 8 bytes.
        assert saved_for_backward(lambda size=size: [dist.Normal(loc, scale).rsample((size,))], [loc, scale]) == 16


def test_counted_is_each_storage_once_that_the_outputs_depend_on():
    x = torch.ones(100, requires_grad=True)

    def draw():
        y = x.exp()  # keeps its result, 400 bytes
        x.sin().cos()  # leads nowhere
        return [y * y[:50].sum() + y.detach().double().sum() * y]  # y again, and two numbers

    assert saved_for_backward(draw, [x]) == 400 + 4 + 8
