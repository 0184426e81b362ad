"""Independent, TransformedDistribution and MixtureSameFamily draw through their base, keys and all."""

import pytest
import torch
import torch.distributions as td
from scipy import stats

import rsample.distributions as dist
from rsample.kernels import fold_in

KEY = torch.tensor([4, 2], dtype=torch.uint64)


def normal(*shape):
    return dist.Normal(torch.zeros(shape, requires_grad=True), torch.ones(shape, requires_grad=True))


def test_independent_is_its_base():
    base = normal(2, 3)
    d = dist.Independent(base, 1)
    assert isinstance(d, td.Independent)
    x, log_prob = d.rsample_with_log_prob((4,), key=KEY)
    assert torch.equal(x, base.sample((4,), key=KEY))
    assert torch.equal(d.rsample((4,), key=KEY), x)
    assert log_prob.shape == (4, 2)
    torch.testing.assert_close(log_prob, d.log_prob(x))
    y, score = d.sample_with_log_prob((4,), key=KEY)
    assert torch.equal(y, x)
    assert not y.requires_grad
    torch.testing.assert_close(score, log_prob)
    generator = torch.Generator().manual_seed(3)
    again = torch.Generator().manual_seed(3)
    assert torch.equal(d.sample(generator=generator), base.sample(generator=again))
    assert type(d.expand((5, 2))) is dist.Independent
    assert torch.equal(d.expand((5, 2)).sample(key=KEY), base.sample((5,), key=KEY))


TRANSFORMS = [
    [],
    [td.AffineTransform(1.0, 2.0)],
    [td.ExpTransform(), td.AffineTransform(0.0, -1.0)],
    [td.SigmoidTransform(), td.StickBreakingTransform()],
    [td.SoftplusTransform(), td.PowerTransform(torch.tensor(2.0, dtype=torch.float64))],
]


@pytest.mark.parametrize("transforms", TRANSFORMS, ids=lambda t: "-".join(type(x).__name__ for x in t) or "none")
@pytest.mark.parametrize("event_dims", [0, 1])
def test_transformed_draws_and_densities(transforms, event_dims):
    base = dist.Independent(dist.Normal(torch.zeros(2, 3, dtype=torch.float64), 0.5), event_dims)
    d, theirs = dist.TransformedDistribution(base, transforms), td.TransformedDistribution(base, transforms)
    x = d.rsample((4,), key=KEY)
    expected = base.sample((4,), key=KEY)
    for transform in transforms:
        expected = transform(expected)
    torch.testing.assert_close(x, expected)
    pair = d.rsample_with_log_prob((4,), key=KEY)
    assert torch.equal(pair[0], x)
    torch.testing.assert_close(pair[1], theirs.log_prob(x))
    torch.testing.assert_close(d.sample_with_log_prob((4,), key=KEY), (x, theirs.log_prob(x)))


def test_transformed_gradients_reach_base_and_transform():
    loc = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    shift = torch.ones(3, dtype=torch.float64, requires_grad=True)
    d = dist.TransformedDistribution(dist.Normal(loc, 1.0), td.AffineTransform(shift, 2.0))
    x, log_prob = d.rsample_with_log_prob(key=KEY)
    y = d.rsample(key=KEY)
    ours = torch.autograd.grad((x * x + log_prob).sum(), (loc, shift))
    theirs = torch.autograd.grad((y * y + d.log_prob(y)).sum(), (loc, shift))
    torch.testing.assert_close(ours, theirs)
    x, log_prob = d.sample_with_log_prob(key=KEY)
    assert not x.requires_grad
    ours = torch.autograd.grad(log_prob.sum(), (loc, shift))
    theirs = torch.autograd.grad(d.log_prob(x).sum(), (loc, shift))
    torch.testing.assert_close(ours, theirs)


def test_torchs_own_combinators_inside_ours_pass_keys_on():
    base = normal(2, 3)
    nested = dist.TransformedDistribution(td.Independent(base, 1), td.ExpTransform())
    assert torch.equal(nested.sample(key=KEY), base.sample(key=KEY).exp())
    inner = td.TransformedDistribution(base, td.ExpTransform())
    assert torch.equal(dist.Independent(inner, 1).sample(key=KEY), base.sample(key=KEY).exp())


def test_a_base_without_keys_draws_without_and_says_so_with_one():
    d = dist.Independent(td.Beta(torch.ones(3), torch.ones(3)), 1)
    assert d.sample((4,)).shape == (4, 3)
    assert d.rsample((4,)).shape == (4, 3)
    value, log_prob = d.sample_with_log_prob((4,))
    torch.testing.assert_close(log_prob, d.log_prob(value))
    for arguments in ({"key": KEY}, {"generator": torch.Generator()}):
        with pytest.raises(TypeError, match="Beta takes neither generator nor key"):
            d.sample(**arguments)


def test_a_point_mass_as_base():
    # The narrowest of all: every draw is loc, and the density of the transform is that of the base.
    d = dist.TransformedDistribution(dist.Normal(1.0, 0.0, validate_args=False), td.AffineTransform(2.0, 3.0))
    assert torch.equal(d.sample((5,), key=KEY), torch.full((5,), 5.0))
    assert d.rsample((0,), key=KEY).shape == (0,)


def mixture(batch=()):
    which = dist.Categorical(torch.tensor([0.2, 0.3, 0.5]).expand(*batch, 3))
    return dist.MixtureSameFamily(which, dist.Normal(torch.tensor([-50.0, 0.0, 50.0]).expand(*batch, 3), 1.0))


def test_mixtures_draw_component_and_value_from_keys_of_their_own():
    d = mixture((2,))
    x = d.sample((1000,), key=KEY)
    assert x.shape == (1000, 2)
    which = d.mixture_distribution.sample((1000,), key=fold_in(KEY, 0))
    values = d.component_distribution.sample((1000,), key=fold_in(KEY, 1))
    assert torch.equal(x, values.gather(-1, which[..., None])[..., 0])
    value, log_prob = d.sample_with_log_prob((1000,), key=KEY)
    assert torch.equal(value, x)
    torch.testing.assert_close(log_prob, d.log_prob(x))
    with pytest.raises(NotImplementedError):
        d.rsample(key=KEY)
    one, two = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    assert torch.equal(d.sample((5,), generator=one), d.sample((5,), generator=two))


def test_mixtures_of_events_and_of_one_component():
    which = dist.Categorical(torch.ones(4, 1))
    d = dist.MixtureSameFamily(which, dist.Independent(dist.Normal(torch.zeros(4, 1, 2), 1.0), 1))
    x = d.sample((3,), key=KEY)
    assert x.shape == (3, 4, 2)
    assert torch.equal(x, d.component_distribution.sample((3,), key=fold_in(KEY, 1))[..., 0, :])


def test_mixture_weights_fit():
    counts = torch.bincount((mixture().sample((20_000,), key=KEY) / 50).round().long() + 1, minlength=3).numpy()
    # A fixed key, so that p is a fixed number; 1e-4 is far below what chance gives once.
    assert stats.chisquare(counts, 20_000 * torch.tensor([0.2, 0.3, 0.5]).numpy()).pvalue > 1e-4


@pytest.mark.parametrize("make", [lambda: dist.Independent(normal(3), 1), mixture], ids=["independent", "mixture"])
def test_bad_arguments_consume_nothing(make):
    state = torch.get_rng_state()
    with pytest.raises(TypeError, match="sample_shape"):
        make().sample(3)
    with pytest.raises(ValueError, match="key and generator exclude each other"):
        make().sample(key=KEY, generator=torch.Generator())
    with pytest.raises(ValueError, match="key has shape"):
        make().sample(key=torch.zeros(3, dtype=torch.uint64))
    assert torch.equal(torch.get_rng_state(), state)
