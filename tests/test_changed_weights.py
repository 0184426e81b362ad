"""Categorical distributions whose parameters are changed: the given tensor leaves them as they are, an assigned or
edited attribute counts for draws and densities alike."""

import copy
import pickle

import pytest
import torch
import torch.distributions as td
from torch.distributions import kl_divergence
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical as TorchExpRelaxedCategorical

import rsample.distributions as dist
from rsample.distributions._weights import in_force

KEY = torch.tensor([20_26, 2**32 - 5], dtype=torch.uint64)
P = torch.tensor([0.1, 0.2, 0.3, 0.4])


def keyed(d, n=400):
    return d.sample((n,), key=KEY)


def categories(d, n=400):
    """The categories that are drawn, of any of the classes."""
    x = keyed(d, n) if isinstance(d, dist._sampling.KeyedSampling) else d.sample((n,))
    while x.dim() > 1 + len(d.batch_shape):
        x = x.argmax(-1)
    return set(x.flatten().tolist())


def relaxed(cls):
    return lambda **weights: cls(torch.tensor(0.01), **weights)


FAMILIES = {
    "Categorical": dist.Categorical,
    "OneHotCategorical": dist.OneHotCategorical,
    "OneHotCategoricalStraightThrough": dist.OneHotCategoricalStraightThrough,
    "Multinomial": lambda **weights: dist.Multinomial(1, **weights),
    "ExpRelaxedCategorical": relaxed(dist.ExpRelaxedCategorical),
    "RelaxedOneHotCategorical": relaxed(dist.RelaxedOneHotCategorical),
}
THEIRS = {
    "Categorical": td.Categorical,
    "OneHotCategorical": td.OneHotCategorical,
    "OneHotCategoricalStraightThrough": td.OneHotCategoricalStraightThrough,
    "Multinomial": lambda **weights: td.Multinomial(1, **weights),
    "ExpRelaxedCategorical": relaxed(TorchExpRelaxedCategorical),
    "RelaxedOneHotCategorical": relaxed(td.RelaxedOneHotCategorical),
}
OTHERS = [f for f in FAMILIES if f != "OneHotCategoricalStraightThrough"]  # which draws as OneHotCategorical does
every_family = pytest.mark.parametrize("family", FAMILIES)


def holder(d):
    """Who has the attributes that can be set."""
    d = getattr(d, "base_dist", d)
    return getattr(d, "_categorical", d)


# -- the given tensor


def optimiser_step(w):
    with torch.no_grad():
        w.add_(torch.tensor([5.0, 0.0, -5.0, 1.0]))


def through_data(w):
    w.data.copy_(torch.tensor([9.0, 1.0, 1.0, 1.0]))


def through_numpy(w):
    w.detach().numpy()[...] = [9.0, 1.0, 1.0, 1.0]


def through_a_view(w):
    w.detach()[1:3] = 7.0


@every_family
@pytest.mark.parametrize("name", ["logits", "probs"])
@pytest.mark.parametrize("change", [optimiser_step, through_data, through_numpy, through_a_view])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_later_change_of_the_given_tensor_moves_nothing(family, name, change, requires_grad):
    w = P.clone().requires_grad_(requires_grad)
    ours, reference = (families[family](**{name: w}) for families in (FAMILIES, THEIRS))
    before = keyed(ours)
    change(w)
    assert torch.equal(keyed(ours), before)
    for attribute in ("logits", "probs"):
        torch.testing.assert_close(getattr(holder(ours), attribute), getattr(holder(reference), attribute))
    if "Relaxed" not in family:
        x = reference.sample((5,))
        torch.testing.assert_close(ours.log_prob(x), reference.log_prob(x))
    if family in ("Categorical", "OneHotCategorical"):
        torch.testing.assert_close(ours.entropy(), reference.entropy())
        assert kl_divergence(ours, FAMILIES[family](**{name: w.detach().abs()})) > 1e-3


def test_gradients_reach_the_given_tensor_after_a_change():
    w = P.clone().requires_grad_()
    ours, reference = dist.Categorical(logits=w), td.Categorical(logits=w)
    x, log_prob = ours.sample_with_log_prob((50,), key=KEY)
    expected = torch.autograd.grad(reference.log_prob(x).sum(), w)
    optimiser_step(w)  # after which torch's backward raises: it has kept w
    torch.testing.assert_close(torch.autograd.grad(log_prob.sum(), w), expected)
    torch.testing.assert_close(torch.autograd.grad(ours.log_prob(x).sum(), w), expected)


def test_weights_of_expanded_memory_are_copied_as_they_are():
    row = P.clone()
    d = dist.Categorical(logits=row.expand(1000, 4))
    assert d._weights.untyped_storage().nbytes() == row.nbytes
    before = keyed(d, 2)
    row.zero_()
    assert torch.equal(keyed(d, 2), before)


# -- the attributes


ONLY_3 = torch.tensor([0.0, 0.0, 0.0, 1.0])
MASK = torch.tensor([True, True, False, False])


def assign_probs(d):
    d.probs = ONLY_3.clone()


def root_noise(d):
    d.probs = 0.75 * d.probs * (1 - MASK.float()) + 0.25 * ONLY_3


def assign_masked_logits(d):
    d.logits = d.logits.masked_fill(MASK, -1e10)


def assign_infinite_logits(d):
    d.logits = d.logits.masked_fill(MASK, -torch.inf)


def edit_probs(d):
    d.probs[0] = 0.0
    d.probs[1] = 0.0


def edit_logits(d):
    d.logits[:2] = -torch.inf


def edit_a_view_of_logits(d):
    d.logits[:2].sub_(1e10)


def edit_logits_through_the_other(d):
    _ = d.probs
    d.logits[MASK] = -torch.inf


def edit_probs_through_the_other(d):
    _ = d.logits
    d.probs.mul_(~MASK)


CHANGES = [
    assign_probs,
    root_noise,
    assign_masked_logits,
    assign_infinite_logits,
    edit_probs,
    edit_logits,
    edit_a_view_of_logits,
    edit_logits_through_the_other,
    edit_probs_through_the_other,
]
every_change = pytest.mark.parametrize("change", CHANGES)


def use(d):
    """What a program may have asked of a distribution before it changes it."""
    x = keyed(d) if isinstance(d, dist._sampling.KeyedSampling) else d.sample((3,))
    d.log_prob(x)
    return holder(d).probs, holder(d).logits


def check_agreement(d):
    own = holder(d)
    assert own.probs[:2].sum() == 0
    # Where somebody has set probabilities, the others are the clamped logarithms that torch makes of them.
    torch.testing.assert_close(own.logits.softmax(-1)[:2], torch.zeros(2), atol=5e-7, rtol=0)
    torch.testing.assert_close(own.logits.softmax(-1), own.probs / own.probs.sum(), atol=5e-7, rtol=0)


@pytest.mark.parametrize(
    ("family", "mode"),
    [*((f, torch.enable_grad) for f in OTHERS), *(("Categorical", m) for m in (torch.no_grad, torch.inference_mode))],
)
@pytest.mark.parametrize("name", ["logits", "probs"])
@pytest.mark.parametrize("used", [False, True])
@every_change
def test_draws_and_densities_follow_an_attribute(family, name, used, mode, change):
    with mode():
        d = FAMILIES[family](**{name: P if name == "probs" else P.log()})
        if used:
            use(d)
        change(holder(d))
        for same in (d, copy.copy(d), copy.deepcopy(d), pickle.loads(pickle.dumps(d)), d.expand((1,)).expand((3, 1))):
            assert categories(same) <= {2, 3}
        check_agreement(d)
        if family not in ("Multinomial", "ExpRelaxedCategorical", "RelaxedOneHotCategorical"):
            x, log_prob = d.sample_with_log_prob((50,), key=KEY)
            torch.testing.assert_close(log_prob, d.log_prob(x))


@every_change
def test_the_last_of_two_changes_counts(change):
    d = dist.Categorical(P)
    for first in CHANGES:
        first(d)
        change(d)
        check_agreement(d)
        d.probs = P.clone()
        assert categories(d) == {0, 1, 2, 3}
        d.logits = P.log()
        assert categories(d) == {0, 1, 2, 3}


def test_an_assigned_tensor_is_the_attribute():
    d = dist.Categorical(torch.ones(3))
    given = torch.tensor([3.0, 1.0, 0.0])
    d.probs = given
    assert d.probs is given
    assert torch.equal(d.log_prob(torch.tensor([1, 2])), torch.tensor([0.0, -torch.inf]))
    _ = d.logits
    given[:] = torch.tensor([0.0, 0.0, 1.0])
    assert categories(d) == {2}
    assert d.logits.argmax() == 2


def test_gradients_reach_what_was_assigned():
    given, weight = P.clone().requires_grad_(), torch.tensor([3.0, -1.0, 0.5, 2.0])
    for set_up in ("probs", "logits"):
        ours, theirs = (library.OneHotCategoricalStraightThrough(torch.ones(4)) for library in (dist, td))
        for d in (ours, theirs):
            setattr(d._categorical, set_up, 2 * given)
        del theirs._categorical.__dict__["logits" if set_up == "probs" else "probs"]  # made by its validation
        x, log_prob = ours.rsample_with_log_prob((20,), key=KEY)
        expected = theirs.log_prob(x.round()).sum() + 20 * (theirs.probs * weight).sum()
        torch.testing.assert_close(
            torch.autograd.grad((x * weight).sum() + log_prob.sum(), given), torch.autograd.grad(expected, given)
        )


def test_asking_for_attributes_changes_no_draw():
    logits = torch.linspace(-9, 9, 3_000).reshape(3, 1_000).bfloat16()
    d = dist.Categorical(logits=logits)
    before = keyed(d)
    use(d)
    assert d.entropy().shape == (3,)
    assert all(torch.equal(keyed(e), before) for e in (d, copy.deepcopy(d), pickle.loads(pickle.dumps(d))))


SOME = [assign_masked_logits, edit_probs, edit_logits, edit_probs_through_the_other]
NOT_COUNTED = [(c, "vmap", used) for c in CHANGES if c is not edit_a_view_of_logits for used in (False, True)]


@pytest.mark.parametrize(("change", "wrap", "used"), [*NOT_COUNTED, *((c, "compile", True) for c in SOME)])
@pytest.mark.parametrize("name", ["logits", "probs"])
def test_where_versions_are_not_counted(change, name, used, wrap):
    torch._dynamo.reset()

    def function(p):
        d = dist.Categorical(**{name: p if name == "probs" else p.log()}, validate_args=False)
        if used:
            d.log_prob(torch.tensor(2)), d.probs, d.logits
        change(d)
        x, log_prob = d.sample_with_log_prob((100,), key=KEY)
        return x, log_prob, d.log_prob(x)

    if wrap == "compile":
        x, log_prob, expected = torch.compile(function, fullgraph=True, backend="aot_eager")(P)
    else:
        x, log_prob, expected = torch.func.vmap(function, randomness="different")(torch.stack((P, P.flip(0))))
    assert x.min() >= 2
    torch.testing.assert_close(log_prob, expected)


# -- torch's own classes


@pytest.mark.parametrize("family", OTHERS)
@pytest.mark.parametrize("name", ["logits", "probs"])
@pytest.mark.parametrize("used", [False, True])
@every_change
def test_accelerated_draws_follow_an_attribute(family, name, used, change):
    d = THEIRS[family](**{name: P if name == "probs" else P.log()})
    with dist.accelerate():
        if used:
            use(d)
        change(holder(d))
        if "Relaxed" in family:  # torch draws it from the logits, and so is its density
            expected = set(holder(d).logits.softmax(-1).gt(1e-6).nonzero().flatten().tolist())
            assert categories(d) <= expected
        else:
            assert categories(d) <= {2, 3}


def test_acceleration_draws_no_impossible_category_of_logits_that_follow():
    d = td.Categorical(torch.tensor([0.0, 1.0, 1.0]).expand(5000, 3))
    _ = d.logits
    with dist.accelerate():
        for same in (d, copy.deepcopy(d), d.expand((2, 5000))):
            assert set(same.sample((200,)).unique().tolist()) == {1, 2}


@pytest.mark.parametrize("name", ["logits", "probs"])
def test_asking_for_attributes_changes_no_accelerated_draw(name):
    d = td.Categorical(**{name: torch.linspace(0.1, 9, 3_000).reshape(3, 1_000)})
    with dist.accelerate():
        torch.manual_seed(1)
        before = d.sample((50,))
        _ = d.entropy(), d.logits, d.probs
        torch.manual_seed(1)
        assert torch.equal(d.sample((50,)), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("name", "other"), [("logits", "probs"), ("probs", "logits")])
def test_what_differs_by_more_than_rounding_has_been_edited(name, other, dtype):
    weights = torch.rand((5, 40), generator=torch.Generator().manual_seed(0), dtype=dtype) * 20 + 0.01
    d = td.Categorical(**{name: weights})
    _ = d.logits, d.probs
    found = in_force(d)
    assert found[0] == name
    assert torch.equal(found[1], getattr(d, name))
    d = td.Categorical(**{name: weights})
    edited = getattr(d, other)
    edited.data[2, 7] += 100 * torch.finfo(dtype).eps * edited[2, 7].abs()  # which no version tells of
    found = in_force(d)
    assert found[0] == name
    of_other = {"logits": torch.softmax, "probs": lambda p, _: p.log()}[name](found[1], -1)
    # Rows but the edited one are the given ones, and that one is the other attribute to rounding.
    assert torch.equal(found[1][[0, 1, 3, 4]], getattr(d, name)[[0, 1, 3, 4]])
    assert not torch.equal(found[1][2], getattr(d, name)[2])
    torch.testing.assert_close(of_other[2], edited[2], rtol=40 * torch.finfo(dtype).eps, atol=0)
