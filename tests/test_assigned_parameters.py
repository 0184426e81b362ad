"""Parameters that are assigned, or edited in place, after construction: draws and densities use the same."""

import copy
import pickle

import pytest
import torch
import torch.distributions as td

import rsample.distributions as dist

KEY = torch.tensor([20_26, 11], dtype=torch.uint64)


def p(low, high, n=6):
    return torch.linspace(low, high, n)


# Families of probs or logits, made of either.
ALTERNATIVES = {
    "Bernoulli": dist.Bernoulli,
    "BernoulliStraightThrough": dist.BernoulliStraightThrough,
    "Binomial": lambda **given: dist.Binomial(5, **given),
    "Geometric": dist.Geometric,
    "NegativeBinomial": lambda **given: dist.NegativeBinomial(5.0, **given),
    "ContinuousBernoulli": dist.ContinuousBernoulli,
    "LogitRelaxedBernoulli": lambda **given: dist.LogitRelaxedBernoulli(torch.tensor(0.5), **given),
}
PROBS, LOGITS = p(0.1, 0.9), p(-2.0, 1.0)


def assign(d, name, value):
    setattr(d, name, value)


def edit(d, name, value):
    getattr(d, name).copy_(value)


def edit_in_inference_mode(d, name, value):
    with torch.inference_mode():
        getattr(d, name).copy_(value)


every_family = pytest.mark.parametrize("family", ALTERNATIVES)
every_change = pytest.mark.parametrize("change", [assign, edit, edit_in_inference_mode])
made_of = pytest.mark.parametrize("given", [{"probs": p(0.2, 0.6)}, {"logits": p(-1.0, 1.0)}], ids=["probs", "logits"])


def agree(d, expected):
    """Draws, densities and parameters of two distributions are the same."""
    assert torch.equal(d.sample((4,), key=KEY), expected.sample((4,), key=KEY))
    value = expected.sample((3,), key=KEY)
    assert torch.equal(d.log_prob(value), expected.log_prob(value))
    for ours, theirs in zip(d.sample_with_log_prob(key=KEY), expected.sample_with_log_prob(key=KEY), strict=True):
        assert torch.equal(ours, theirs)
    for name in ("probs", "logits"):
        assert torch.equal(getattr(d, name), getattr(expected, name))


@every_family
@every_change
@made_of
@pytest.mark.parametrize("look", [False, True], ids=["", "looked at before"])
@pytest.mark.parametrize(("name", "value"), [("probs", PROBS), ("logits", LOGITS)], ids=["probs", "logits"])
def test_the_last_change_counts(family, change, given, look, name, value):
    d = ALTERNATIVES[family](**{n: v.clone() for n, v in given.items()})
    if look:
        d.probs, d.logits  # noqa: B018
    change(d, name, value.clone())
    expected = ALTERNATIVES[family](**{name: value})
    for same in (d, copy.copy(d), copy.deepcopy(d), pickle.loads(pickle.dumps(d)), d.expand((6,))):
        agree(same, expected)
    wrapped = dist.Independent(d, 1), dist.Independent(expected, 1)
    for ours, theirs in zip(*(w.sample_with_log_prob((2,), key=KEY) for w in wrapped), strict=True):
        assert torch.equal(ours, theirs)


@every_family
@made_of
def test_a_look_changes_nothing(family, given):
    d, other = ALTERNATIVES[family](**given), ALTERNATIVES[family](**given)
    d.probs, d.logits  # noqa: B018
    assert torch.equal(d.sample((1000,), key=KEY), other.sample((1000,), key=KEY))
    assert torch.equal(d.expand((2, 6)).sample((9,), key=KEY), other.expand((2, 6)).sample((9,), key=KEY))
    assert torch.equal(copy.deepcopy(d).sample((9,), key=KEY), other.sample((9,), key=KEY))


def test_an_impossible_outcome_is_not_drawn():
    d = dist.Bernoulli(logits=torch.zeros(1000))
    d.probs[:500] = 0.0
    assert not d.sample()[:500].any()
    assert d.sample()[500:].any()


@pytest.mark.parametrize("change", [assign, edit])
def test_a_relaxed_bernoulli_has_the_parameters_of_its_base(change):
    d = dist.RelaxedBernoulli(torch.tensor(0.5), logits=torch.zeros(6))
    change(d.base_dist, "probs", PROBS.clone())
    expected = dist.RelaxedBernoulli(torch.tensor(0.5), PROBS)
    agree(d, expected)
    agree(d.expand((6,)), expected)


def test_gradients_reach_what_was_assigned():
    d = dist.BernoulliStraightThrough(logits=torch.zeros(6))
    d.probs = PROBS.clone().requires_grad_()
    d.rsample().sum().backward()
    assert torch.equal(d.probs.grad, torch.ones(6))


@pytest.mark.parametrize("names", [("probs",), ("logits",), ("probs", "logits")], ids=str)
def test_a_subclass_that_overrides_a_parameter_draws_as_torchs_would(names):
    values = {"probs": torch.ones(6), "logits": torch.full((6,), 100.0)}
    overrides = {name: property(lambda self, name=name: values[name], lambda self, value: None) for name in names}
    for library in (dist, td):
        d = type("Mine", (library.Bernoulli,), overrides)(**{n: torch.full((6,), 0.01) for n in ("probs",)})
        if "probs" in names:
            assert (d.sample((50,)) == 1).all()
        else:
            assert not (d.sample((50,)) == 1).all()


def test_compiled_code_takes_what_was_assigned():
    def draw(logits, probs):
        d = dist.Bernoulli(logits=logits, validate_args=False)
        d.mean  # noqa: B018
        d.probs = probs
        return d.sample((3,), key=KEY), d.log_prob(torch.ones(6))

    torch.testing.assert_close(torch.compile(draw, fullgraph=True)(LOGITS, PROBS), draw(LOGITS, PROBS))


# A class, its attributes, and new values of these.
ATTRIBUTES = [
    (dist.Normal, {"loc": p(-1, 1), "scale": p(1, 2)}),
    (dist.LogNormal, {}),
    (dist.Beta, {"concentration1": p(1, 2), "concentration0": p(2, 3)}),
    (dist.Gamma, {"concentration": p(1, 2), "rate": p(2, 3)}),
    (dist.StudentT, {"df": p(3, 4), "loc": p(-1, 1), "scale": p(1, 2)}),
    (dist.Gumbel, {"loc": p(-1, 1), "scale": p(1, 2)}),
    (dist.Laplace, {"loc": p(-1, 1), "scale": p(1, 2)}),
    (dist.Weibull, {"scale": p(1, 2), "concentration": p(2, 3)}),
    (dist.Pareto, {"scale": p(1, 2), "alpha": p(2, 3)}),
    (dist.Kumaraswamy, {"concentration1": p(1, 2), "concentration0": p(2, 3)}),
    (dist.FisherSnedecor, {"df1": p(3, 4), "df2": p(5, 6)}),
    (dist.VonMises, {"loc": p(-1, 1), "concentration": p(1, 2)}),
    (dist.GeneralizedPareto, {"loc": p(-1, 1), "scale": p(1, 2), "concentration": p(0.1, 0.2)}),
]


@pytest.mark.parametrize("change", [assign, edit])
@pytest.mark.parametrize(
    ("cls", "attributes", "name"),
    [(cls, attributes, name) for cls, attributes in ATTRIBUTES for name in attributes],
    ids=lambda x: x.__name__ if isinstance(x, type) else x if isinstance(x, str) else "",
)
def test_attributes_move_draw_and_density(cls, attributes, name, change):
    d = cls(**{n: v.clone() for n, v in attributes.items()})
    d.log_prob(d.sample())
    change(d, name, attributes[name] + 0.5)
    expected = cls(**{**attributes, name: attributes[name] + 0.5})
    for same in (d, copy.deepcopy(d), d.expand((6,))):
        x = same.sample((4,), key=KEY)
        assert torch.equal(x, expected.sample((4,), key=KEY))
        assert torch.equal(same.log_prob(x), expected.log_prob(x))
