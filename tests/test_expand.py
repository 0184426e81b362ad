"""`expand` of every class, plain and inside of the combinators."""

import functools

import pytest
import torch
import torch.distributions as td
from class_parameters import COMBINATORS
from every_class import EVERY_CLASS, params

import rsample.distributions as dist

KEY = torch.tensor([20_26, 13], dtype=torch.uint64)


# Of batch shape (3,).
MAKE = {name: functools.partial(make, params((3,))) for name, make in EVERY_CLASS.items() if name not in COMBINATORS}


def identity(event_dim):
    return td.IndependentTransform(td.AffineTransform(0.0, 1.0), event_dim) if event_dim else td.ComposeTransform([])


WRAP = {
    "plain": lambda d: d,
    "Independent": lambda d: dist.Independent(d, 0),
    "TransformedDistribution": lambda d: dist.TransformedDistribution(d, identity(len(d.event_shape))),
}


@pytest.mark.parametrize("family", MAKE)
@pytest.mark.parametrize("wrap", WRAP)
@pytest.mark.parametrize("shape", [(2, 3), (3,), (0, 3)], ids=str)
def test_an_expanded_draw_is_that_of_the_whole_shape(family, wrap, shape):
    if family == "Multinomial" and 0 in shape:
        pytest.skip("test_counts.py has it")
    d = WRAP[wrap](MAKE[family]())
    expanded = d.expand(shape)
    assert type(expanded) is type(d)
    assert expanded.batch_shape == shape
    assert expanded.event_shape == d.event_shape
    x = expanded.sample((5,), key=KEY)
    assert x.shape == (5, *shape, *d.event_shape)
    if 0 not in shape:
        assert torch.equal(x, d.sample((5, *shape[:-1]), key=KEY))
        torch.testing.assert_close(expanded.log_prob(x), d.log_prob(x))
        again = expanded.expand((4, *shape))
        assert torch.equal(again.sample(key=KEY), d.sample((4, *shape[:-1]), key=KEY))


@pytest.mark.parametrize("family", MAKE)
def test_inside_a_mixture(family):
    # torch does not check values against a component's support that depends on parameters.
    td.Distribution.set_default_validate_args(False)
    d = dist.MixtureSameFamily(dist.Categorical(torch.ones(3)), MAKE[family]())
    expanded = d.expand((2,))
    x = expanded.sample((5,), key=KEY)
    assert x.shape == (5, 2, *d.event_shape)
    torch.testing.assert_close(expanded.log_prob(x), d.log_prob(x))


@pytest.mark.parametrize("family", MAKE)
def test_what_cannot_be_expanded_raises(family):
    with pytest.raises((RuntimeError, ValueError)):
        MAKE[family]().expand((2, 5)).sample()
