"""Subclasses that override a draw or a density, as programs do with torch's classes."""

import pytest
import torch
import torch.distributions as td

import rsample.distributions as dist

KEY = torch.tensor([20_26, 5], dtype=torch.uint64)


def overriding(cls, *names):
    """A subclass whose methods of these names return 7 times what they would, or 7 where they draw."""

    def seven(self, sample_shape=()):
        return torch.full(self._extended_shape(torch.Size(sample_shape)), 7.0)

    def density(self, value):
        return 7.0 * cls.log_prob(self, value)

    return type(f"My{cls.__name__}", (cls,), {name: density if name == "log_prob" else seven for name in names})


MAKE = {
    "Normal": lambda cls: cls(torch.zeros(3), 1.0),
    "Laplace": lambda cls: cls(torch.ones(3), 1.0),
    "Beta": lambda cls: cls(torch.ones(3), 1.0),
    "Exponential": lambda cls: cls(torch.ones(3)),
    "Uniform": lambda cls: cls(torch.zeros(3), 9.0),
    "LogNormal": lambda cls: cls(torch.zeros(3), 1.0),
    "ContinuousBernoulli": lambda cls: cls(torch.full((3,), 0.3)),
    "Dirichlet": lambda cls: cls(torch.ones(3)),
    "MultivariateNormal": lambda cls: cls(torch.zeros(3), torch.eye(3)),
    "RelaxedBernoulli": lambda cls: cls(torch.tensor(0.5), torch.full((3,), 0.3)),
    "StudentT": lambda cls: cls(torch.full((3,), 4.0)),
}


@pytest.mark.parametrize("family", MAKE)
@pytest.mark.parametrize("overridden", [("sample",), ("rsample",), ("sample", "rsample")], ids="-".join)
def test_an_overridden_draw_counts_wherever_it_does_in_torch(family, overridden):
    torch.manual_seed(0)
    ours, theirs = (MAKE[family](overriding(getattr(library, family), *overridden)) for library in (dist, td))
    for name in ("sample", "rsample"):
        expected, got = (getattr(d, name)((2,)) for d in (theirs, ours))
        assert bool((got == 7).all()) == bool((expected == 7).all())
        assert got.shape == expected.shape


def test_gamma_samples_by_an_overridden_rsample():
    # As torch's does, which hands its own `generator=` on whether the override takes it or not.
    assert (MAKE["Beta"](overriding(dist.Gamma, "rsample")).sample() == 7).all()


@pytest.mark.parametrize("overridden", ["sample", "rsample", "log_prob"])
@pytest.mark.parametrize("name", ["sample", "rsample"])
@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: dist.Independent(d, 1)], ids=["plain", "in Independent"])
def test_a_draw_with_its_density_is_the_two_methods(overridden, name, wrap):
    d = wrap(MAKE["Normal"](overriding(dist.Normal, overridden)))
    torch.manual_seed(0)
    x, log_prob = getattr(d, f"{name}_with_log_prob")((2,))
    torch.manual_seed(0)
    assert torch.equal(x, getattr(d, name)((2,)))
    torch.testing.assert_close(log_prob, d.log_prob(x), rtol=1e-5, atol=1e-5)
    assert bool((x == 7).all()) == (overridden == name)


def mixture(cls):
    which = dist.Categorical(torch.ones(3))
    return dist.MixtureSameFamily(which, cls(torch.zeros(3), 1.0))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda cls: dist.Independent(cls(torch.zeros(3), 1.0), 1),
        lambda cls: dist.TransformedDistribution(cls(torch.zeros(3), 1.0), []),
        mixture,
        lambda cls: dist.Independent(td.Independent(cls(torch.zeros(3, 2), 1.0), 1), 1),
    ],
    ids=["Independent", "TransformedDistribution", "MixtureSameFamily", "nested"],
)
def test_combinators_hand_on_only_what_was_given(wrap):
    d = wrap(overriding(dist.Normal, "sample", "rsample"))
    assert (d.sample((2,)) == 7).all()
    assert (d.sample_with_log_prob((2,))[0] == 7).all()
    if d.has_rsample:
        assert (d.rsample((2,)) == 7).all()
    with pytest.raises(TypeError, match="key"):
        d.sample((2,), key=KEY)


@pytest.mark.parametrize("combinator", [dist.Independent, td.Independent])
def test_a_combinator_that_overrides_its_draw_is_asked_itself(combinator):
    inner = overriding(combinator, "sample", "rsample")(dist.Normal(torch.zeros(2, 3), 1.0), 1)
    d = dist.TransformedDistribution(inner, [td.AffineTransform(0.0, 2.0)])
    assert (d.sample() == 14).all()
    assert (d.rsample_with_log_prob()[0] == 14).all()
    with pytest.raises(TypeError, match="key"):
        d.sample(key=KEY)


def test_a_key_reaches_an_override_that_takes_it():
    class Shifted(dist.Normal):
        def rsample(self, sample_shape=(), *, key=None):
            return 100 + super().rsample(sample_shape, key=key)

    d = dist.Independent(Shifted(torch.zeros(3), 1.0), 1)
    expected = 100 + dist.Normal(torch.zeros(3), 1.0).rsample((2,), key=KEY)
    assert torch.equal(d.rsample((2,), key=KEY), expected)
    assert torch.equal(d.rsample_with_log_prob((2,), key=KEY)[0], expected)
