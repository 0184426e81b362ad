"""accelerate(): torch.distributions' own classes draw what this package's classes draw, and only while asked to."""

import contextlib
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.distributions as td
from class_parameters import (
    CASES,
    COMBINATORS,
    LOGITS,
    OTHER_POSITIVE,
    POSITIVE,
    PROBS,
    REAL,
    SIMPLEX,
    TEMPERATURE,
    identifiers,
    spread,
)
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical

import rsample.distributions as dist

SEED = 20261128
MODULES = {"ExpRelaxedCategorical": ExpRelaxedCategorical, "LogitRelaxedBernoulli": LogitRelaxedBernoulli}


every_class = pytest.mark.parametrize(("name", "params"), CASES, ids=identifiers(CASES))


def torchs(name):
    return MODULES.get(name) or getattr(td, name)


def drawn(distribution, method="sample", shape=(5,)):
    torch.manual_seed(SEED)
    return getattr(distribution, method)(shape)


def leaves(params):
    return {n: p.clone().requires_grad_() if isinstance(p, torch.Tensor) else p for n, p in params.items()}


def everything():
    """Every attribute of every class of torch.distributions, but what torch.compile sets: it turns validation off."""
    classes = [td.Distribution]
    for cls in classes:
        classes += [c for c in cls.__subclasses__() if c.__module__.startswith("torch.") and c not in classes]
    return {(cls, name): id(value) for cls in classes for name, value in vars(cls).items() if name != "_validate_args"}


@pytest.fixture(autouse=True)
def _leaves_torch_as_it_was():
    before = everything()
    yield
    assert everything() == before


def test_the_table_has_every_class_that_torch_has_too():
    drawn = {name for name in dist.__all__ if hasattr(getattr(dist, name), "sample_with_log_prob")}
    torch_has = {name for name in drawn if hasattr(td, name) or name in MODULES}
    assert {name for name, _ in CASES} == torch_has - COMBINATORS


@pytest.mark.filterwarnings("ignore:Singular sample detected")  # by torch, of Wishart, which draws again
@every_class
def test_samples_are_those_of_the_class_of_the_same_name(name, params):
    theirs, ours = torchs(name)(**params), getattr(dist, name)(**params)
    before = drawn(theirs)
    with dist.accelerate():
        accelerated = drawn(theirs)
    expected = drawn(ours)
    assert accelerated.shape == before.shape
    assert accelerated.dtype == before.dtype
    if "Relaxed" in name and "Categorical" in name:
        torch.testing.assert_close(accelerated, expected)  # torch has normalised the logits, which rounds them
    else:
        assert torch.equal(accelerated, expected)
    # The sample of torch is another one, and is back.
    assert theirs.support.is_discrete or not torch.equal(accelerated, before)
    assert torch.equal(drawn(theirs), before)


@every_class
def test_reparameterised_draws_have_the_gradients_of_that_class(name, params):
    # torch's LogitRelaxedBernoulli has an rsample, but says that it has not.
    reparameterised = torchs(name).rsample is not td.Distribution.rsample
    with dist.accelerate():
        assert torchs(name)(**params).has_rsample == (reparameterised and name != "LogitRelaxedBernoulli")
        if not reparameterised:
            with pytest.raises(NotImplementedError):
                torchs(name)(**params).rsample()
            return
        theirs = leaves(params)
        accelerated = drawn(torchs(name)(**theirs), "rsample")
        assert not drawn(torchs(name)(**theirs)).requires_grad
    ours = leaves(params)
    expected = drawn(getattr(dist, name)(**ours), "rsample")
    accelerated.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    torch.testing.assert_close(accelerated, expected)
    # The gradient of a parameter that is broadcast is added up in another order.
    for parameter in params:
        torch.testing.assert_close(theirs[parameter].grad, ours[parameter].grad)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            lambda: td.Independent(td.Normal(REAL, POSITIVE), 1),
            lambda: dist.Independent(dist.Normal(REAL, POSITIVE), 1),
        ),
        (
            lambda: td.TransformedDistribution(td.Laplace(REAL, POSITIVE), td.ExpTransform()),
            lambda: dist.TransformedDistribution(dist.Laplace(REAL, POSITIVE), td.ExpTransform()),
        ),
        (
            lambda: td.MixtureSameFamily(td.Categorical(SIMPLEX), td.Gamma(POSITIVE, OTHER_POSITIVE)),
            lambda: dist.MixtureSameFamily(dist.Categorical(SIMPLEX), dist.Gamma(POSITIVE, OTHER_POSITIVE)),
        ),
    ],
    ids=["Independent", "TransformedDistribution", "MixtureSameFamily"],
)
def test_combinators_draw_from_accelerated_bases(theirs, ours):
    d = theirs()
    with dist.accelerate():
        assert torch.equal(drawn(d), drawn(ours()))
        if d.has_rsample:
            assert torch.equal(drawn(d, "rsample"), drawn(ours(), "rsample"))


def test_our_own_classes_draw_as_before():
    for name, params in CASES:
        ours = getattr(dist, name)(**params)
        before = drawn(ours)
        with dist.accelerate():
            assert torch.equal(drawn(ours), before)


def test_expanded_parameters_have_gradients_of_their_own_shape():
    loc, scale = torch.zeros(3, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    with dist.accelerate():
        x = drawn(td.Normal(loc, scale).expand((4, 3)), "rsample")
    x.sum().backward()
    assert torch.equal(loc.grad, torch.full((3,), 20.0))
    torch.testing.assert_close(scale.grad, x.detach().sum() / 2)


def test_nothing_is_replaced_by_an_import():
    assert td.Normal.sample.__code__.co_filename == td.normal.__file__


def test_attributes_come_back_after_nested_repeated_and_failing_blocks():
    before = everything()
    with dist.accelerate():
        outer = everything()
        assert outer != before
        with dist.accelerate(), dist.accelerate():
            assert everything() == outer
        assert everything() == outer
    assert everything() == before
    with pytest.raises(ZeroDivisionError), dist.accelerate():
        _ = 1 / 0
    assert everything() == before


def test_a_plain_call_lasts_until_it_is_restored():
    before = everything()
    first, second = dist.accelerate(), dist.accelerate()
    first.restore()
    assert everything() != before
    first.restore()  # takes nothing from the second
    assert everything() != before
    second.restore()
    assert everything() == before


def test_an_acceleration_is_entered_once():
    acceleration = dist.accelerate()
    with acceleration, pytest.raises(RuntimeError, match="call accelerate"):
        acceleration.__enter__()
    with pytest.raises(RuntimeError, match="call accelerate"):
        acceleration.__enter__()


def test_threads_may_ask_and_restore_at_once():
    before = everything()
    barrier = threading.Barrier(8)

    def ask():
        barrier.wait()
        for _ in range(50):
            with dist.accelerate():
                accelerated = td.Normal.sample.__code__.co_filename != td.normal.__file__
                if not accelerated:
                    return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: ask(), range(8)))
    assert everything() == before


def test_every_thread_draws_by_it():
    d = td.Normal(0.0, 1.0)
    with dist.accelerate(), ThreadPoolExecutor(1) as pool:
        assert torch.equal(pool.submit(drawn, d).result(), drawn(dist.Normal(0.0, 1.0)))


class Plain(td.Normal):
    """As libraries subclass: with methods of their own."""


class CallsSuper(td.Normal):
    def rsample(self, sample_shape=()):
        return super().rsample(sample_shape) + 100


class RsampleOnly(td.Gamma):
    def rsample(self, sample_shape=(), generator=None):
        return torch.full(self._extended_shape(sample_shape), 7.0)


class CertainProbs(td.Bernoulli):
    @property
    def probs(self):
        return torch.ones_like(self.logits)


class ClampedInverse(td.ContinuousBernoulli):
    def icdf(self, value):
        return super().icdf(value).clamp(max=0.0)


class Shifted(td.LogNormal):
    def __init__(self, loc, scale):
        super().__init__(loc, scale)
        self.transforms = [*self.transforms, td.AffineTransform(100.0, 1.0)]


class OfAnotherBase(td.HalfNormal):
    def __init__(self, scale):
        td.TransformedDistribution.__init__(self, CallsSuper(0.0, scale), td.AbsTransform())


def test_subclasses_inherit_the_draw():
    with dist.accelerate():
        assert torch.equal(drawn(Plain(REAL, POSITIVE)), drawn(dist.Normal(REAL, POSITIVE)))
        assert type(Plain(REAL, POSITIVE).expand((2, 2, 3))) is Plain


def test_a_subclass_that_draws_itself_still_does_and_calls_the_accelerated_one():
    with dist.accelerate():
        expected = drawn(dist.Normal(REAL, POSITIVE), "rsample") + 100
        assert torch.equal(drawn(CallsSuper(REAL, POSITIVE), "rsample"), expected)
        # torch's Gamma.sample calls rsample, which is the subclass's.
        assert torch.equal(drawn(RsampleOnly(POSITIVE, POSITIVE)), torch.full((5, 2, 3), 7.0))


def test_a_subclass_that_overrides_what_the_draw_is_made_of_is_drawn_from_it():
    with dist.accelerate():
        assert (drawn(CertainProbs(logits=LOGITS)) == 1).all()
        assert (drawn(ClampedInverse(logits=LOGITS)) == 0).all()
        # By torch's own methods, from the accelerated base.
        assert torch.equal(drawn(Shifted(REAL, POSITIVE)), drawn(dist.Normal(REAL, POSITIVE)).exp() + 100)
        assert (drawn(OfAnotherBase(POSITIVE), "rsample") > 50).all()


class Marked(torch.Tensor):
    """A subclass of Tensor with a way of its own through torch's operations."""


needs_generator = pytest.mark.skipif(
    "generator" not in inspect.signature(td.Gamma.rsample).parameters,
    reason="this torch's distributions take no generator",
)


def gamma_with_generator(shape):
    return td.Gamma(POSITIVE, POSITIVE).rsample(shape, generator=torch.Generator().manual_seed(SEED))


def recorded(shape):
    draw = torch.jit.trace(
        lambda x: td.Normal(x, 1.0, validate_args=False).rsample(shape), (torch.zeros(3),), check_trace=False
    )
    return draw(torch.zeros(3))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(gamma_with_generator, marks=needs_generator),
        recorded,
        lambda shape: td.Normal(REAL.as_subclass(Marked), POSITIVE.as_subclass(Marked)).rsample(shape),
        lambda shape: td.Normal(REAL.double(), POSITIVE).rsample(shape),
        lambda shape: td.RelaxedBernoulli(spread(0.5, 1, 4, 2, 3), logits=LOGITS).rsample(shape),
        lambda shape: td.RelaxedOneHotCategorical(POSITIVE, logits=LOGITS).rsample(shape),
        lambda shape: td.Uniform(torch.zeros(3, device="meta"), 1.0, validate_args=False).rsample(shape),
    ],
    ids=["generator", "recorded", "subclass", "dtypes", "temperatures", "temperature of each category", "meta"],
)
def test_what_is_not_drawn_here_is_torchs(draw):
    # The last dimension of a sample shape, so that the temperatures broadcast to the sample.
    torch.manual_seed(SEED)
    before = draw((4,))
    with dist.accelerate():
        torch.manual_seed(SEED)
        after = draw((4,))
    assert type(after) is type(before)
    assert after.dtype == before.dtype
    assert after.shape == before.shape
    assert before.is_meta or torch.equal(after, before)


@pytest.mark.parametrize("temperature", [0.7, torch.tensor(0.7), torch.tensor([0.7]), torch.tensor(0.7).double()])
@pytest.mark.parametrize("name", ["LogitRelaxedBernoulli", "RelaxedBernoulli", "RelaxedOneHotCategorical"])
def test_a_temperature_is_one_number_of_any_type(name, temperature):
    for logits in (LOGITS, LOGITS.bfloat16()):
        theirs = torchs(name)(temperature, logits=logits, validate_args=False)
        expected = getattr(dist, name)(TEMPERATURE.to(logits), logits=theirs.logits)
        before = drawn(theirs, "rsample")
        with dist.accelerate():
            accelerated = drawn(theirs, "rsample")
        if accelerated.dtype == logits.dtype:
            torch.testing.assert_close(accelerated, drawn(expected, "rsample"))
        assert accelerated.dtype == before.dtype


def test_integers_are_refused_as_torch_refuses_them():
    d = td.Poisson(torch.tensor([1, 2]), validate_args=False)
    with pytest.raises(RuntimeError) as before:
        d.sample()
    with dist.accelerate(), pytest.raises(RuntimeError) as after:
        d.sample()
    assert str(after.value) == str(before.value)


def draws(loc, scale):
    normal = td.Normal(loc, scale, validate_args=False).rsample((3,))
    gamma = td.Gamma(scale, 1.0, validate_args=False).rsample((3,))
    bernoulli = td.Bernoulli(logits=loc, validate_args=False).sample()
    log_normal = td.LogNormal(loc, scale, validate_args=False).sample()
    category = td.Categorical(logits=loc, validate_args=False).sample((4,))
    return normal, gamma, bernoulli, log_normal, category


def test_accelerated_draws_are_traced_into_one_graph(monkeypatch):
    monkeypatch.setattr(td.Distribution, "_validate_args", td.Distribution._validate_args)
    graphs = []

    def backend(graph, inputs):
        graphs.append({str(node.target) for node in graph.graph.nodes})
        return graph

    with dist.accelerate():
        torch.manual_seed(SEED)
        compiled = torch.compile(draws, fullgraph=True, backend=backend)(REAL, POSITIVE)
        torch.manual_seed(SEED)
        expected = draws(REAL, POSITIVE)
    assert all(torch.equal(c, e) for c, e in zip(compiled, expected, strict=True))
    assert len(graphs) == 1
    assert {
        f"rsample.{name}.default" for name in ("normal", "gamma", "bernoulli_logits", "log_normal", "categorical")
    } <= graphs[0]


def test_code_compiled_while_accelerated_is_compiled_anew_after_it(monkeypatch):
    monkeypatch.setattr(td.Distribution, "_validate_args", td.Distribution._validate_args)
    d = td.Normal(REAL, POSITIVE)
    compiled = torch.compile(lambda: d.rsample((5,)), fullgraph=True, backend="eager")
    with dist.accelerate():
        torch.manual_seed(SEED)
        accelerated = compiled()
        assert torch.equal(accelerated, drawn(dist.Normal(REAL, POSITIVE)))
    torch.manual_seed(SEED)
    before = compiled()
    assert torch.equal(before, drawn(d, "rsample"))


@pytest.mark.parametrize("family", ["Normal", "Gamma"])
def test_vmap_of_accelerated_draws_is_that_of_ours(family):
    def mapped(cls):
        torch.manual_seed(SEED)
        draw = lambda a, b: cls(a, b, validate_args=False).rsample((4,))  # noqa: E731
        return torch.func.vmap(draw, randomness="different")(POSITIVE, OTHER_POSITIVE)

    with dist.accelerate():
        assert torch.equal(mapped(getattr(td, family)), mapped(getattr(dist, family)))
        with pytest.raises(RuntimeError, match="randomness error mode"):
            torch.func.vmap(lambda x: getattr(td, family)(x, 1.0, validate_args=False).rsample())(POSITIVE)


NAN = torch.nan
REFUSED = [
    ("Categorical", {"logits": [0.0, NAN, 1.0]}),
    ("Categorical", {"logits": [0.0, torch.inf, 1.0]}),
    ("Categorical", {"logits": [-torch.inf, -torch.inf]}),
    ("Categorical", {"probs": [1.0, NAN]}),
    ("Categorical", {"probs": [3.0, -1.0]}),
    ("Categorical", {"probs": [0.0, 0.0]}),
    ("Categorical", {"probs": [1.0, torch.inf]}),
    ("OneHotCategorical", {"logits": [0.0, NAN, 1.0]}),
    ("OneHotCategoricalStraightThrough", {"probs": [3.0, -1.0]}),
    ("Multinomial", {"total_count": 3, "logits": [0.0, NAN, 1.0]}),
    ("Multinomial", {"total_count": 3, "probs": [3.0, -1.0]}),
    ("Normal", {"loc": [0.0, 0.0], "scale": [1.0, -1.0]}),
    ("Normal", {"loc": [0.0, 0.0], "scale": [1.0, NAN]}),
    ("LogNormal", {"loc": [0.0, 0.0], "scale": [1.0, -1.0]}),
    ("HalfNormal", {"scale": [1.0, NAN]}),
    ("LogisticNormal", {"loc": [0.0, 0.0], "scale": [1.0, -1.0]}),
    ("Poisson", {"rate": [1.0, -1.0]}),
    ("Poisson", {"rate": [1.0, NAN]}),
    ("Bernoulli", {"probs": [0.5, 1.5]}),
    ("Bernoulli", {"probs": [0.5, -0.5]}),
    ("Bernoulli", {"probs": [0.5, NAN]}),
    ("Bernoulli", {"logits": [0.5, NAN]}),
    ("NegativeBinomial", {"total_count": 3.0, "logits": [0.5, NAN]}),
]
each_refused = pytest.mark.parametrize(("name", "params"), REFUSED, ids=[f"{n}-{p}" for n, p in REFUSED])


def unvalidated(name, params):
    td.Distribution.set_default_validate_args(False)  # TorchRL does it when imported
    return getattr(td, name)(**{n: torch.tensor(p) if isinstance(p, list) else p for n, p in params.items()})


@each_refused
def test_what_stops_torchs_draw_stops_the_accelerated_one(name, params):
    d = unvalidated(name, params)
    for draw in (d.sample, lambda: d.expand((3, *d.batch_shape)).sample((2,))):
        with pytest.raises(RuntimeError) as before:
            draw()
        with dist.accelerate(), pytest.raises(RuntimeError) as after:
            draw()
        assert str(after.value) == str(before.value)


@pytest.mark.parametrize(("name", "params"), [*CASES, ("Normal", {"loc": REAL, "scale": 0 * POSITIVE})])
def test_what_torch_draws_from_is_drawn_from_without_validation(name, params):
    td.Distribution.set_default_validate_args(False)
    expected = drawn(getattr(dist, name)(**params))
    with dist.accelerate():
        # Relaxed draws of normalised logits are rounded otherwise.
        torch.testing.assert_close(drawn(torchs(name)(**params)), expected)


@pytest.mark.parametrize("name", ["probs", "logits"])
def test_gradients_reach_the_given_one_of_two_attributes(name):
    given = PROBS.clone().requires_grad_()
    d = td.RelaxedBernoulli(TEMPERATURE, **{name: given})
    grads = []
    with dist.accelerate():
        for used in (False, True, True):
            if used:
                _ = d.probs, d.logits, d.sample()
            x = drawn(d, "rsample")
            grads.append(torch.autograd.grad(x.sum(), given, retain_graph=True)[0])
    torch.testing.assert_close(grads[1], grads[0])
    assert torch.equal(grads[2], grads[1])


@pytest.mark.parametrize("assigned", [torch.tensor([0.0, 0.0]), torch.tensor([1.0, -1.0]), torch.tensor([NAN, 1.0])])
def test_assigned_probabilities_without_a_law_stop_a_validated_distribution(assigned):
    d = td.Categorical(torch.ones(2))
    d.probs = assigned
    with dist.accelerate(), pytest.raises(RuntimeError):
        d.sample((3,))


@each_refused
def test_on_a_gpu_a_later_draw_raises(name, params, monkeypatch):
    from rsample.distributions import _validation, acceleration

    class Arrived:
        def query(self):
            return True

    monkeypatch.setattr(acceleration, "runs_behind", lambda value: True)
    monkeypatch.setattr(_validation, "_to_host", lambda valid: (valid, Arrived()))
    d = unvalidated(name, params)
    with dist.accelerate():
        with pytest.raises(ValueError, match="refuses to draw from"):
            d.sample()
        td.Normal(0.0, 1.0).sample()


def test_a_report_counts_what_was_taken_and_says_why_the_rest_was_not():
    td.Normal(REAL, POSITIVE).sample()  # before it is asked for
    with dist.accelerate() as acceleration:
        for _ in range(3):
            td.Normal(REAL, POSITIVE).sample()
        Plain(REAL, POSITIVE).rsample()
        td.Independent(td.Gamma(POSITIVE, POSITIVE), 1).sample()
        CallsSuper(REAL, POSITIVE).rsample()
        td.Normal(REAL.double(), POSITIVE).rsample()
        td.Poisson(torch.tensor([1, 2]).bfloat16(), validate_args=False).sample()
        assert acceleration.report().taken["Normal"] == 5
        later = dist.accelerate()
        Shifted(REAL, POSITIVE).sample()
        ClampedInverse(logits=LOGITS).sample()
        later.restore()
        td.Uniform(REAL, REAL + 1).sample()
    td.Normal(REAL, POSITIVE).sample()  # after it
    expected = {
        ("LogNormal", "made of another base or other transforms than torch's constructor makes it of"): 1,
        ("ContinuousBernoulli", "a subclass overrides icdf"): 1,
    }
    # What torch makes the shifted one of is drawn here.
    assert (later.report().taken, later.report().left) == ({"Normal": 1}, expected)
    whole = acceleration.report()
    assert whole.taken == {"Normal": 6, "Gamma": 1, "Poisson": 1, "Uniform": 1}
    assert whole.left == expected | {("Normal", "parameters of two dtypes"): 1}


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (lambda: td.Normal(*(p.as_subclass(Marked) for p in (REAL, POSITIVE))).rsample(), "parameters of type Marked"),
        (lambda: td.Poisson(torch.tensor([1, 2]), validate_args=False).sample(), "parameters of torch.int64"),
        (
            lambda: td.MultivariateNormal(REAL[0], torch.eye(3).as_subclass(Marked)).sample(),
            "parameters of type Marked",
        ),
        (
            lambda: td.RelaxedBernoulli(torch.ones(2), torch.tensor(0.5)).rsample(),
            "a temperature of more than one number",
        ),
        (lambda: td.RelaxedOneHotCategorical(POSITIVE, POSITIVE).sample(), "a temperature of more than one number"),
        (
            lambda: td.Bernoulli(2 * torch.ones(2), validate_args=False).sample(),
            "parameters that torch refuses to draw",
        ),
        (
            lambda: unvalidated("Multinomial", {"total_count": 3, "probs": [3.0, -1.0]}).sample(),
            "parameters that torch refuses",
        ),
        (lambda: td.Uniform(torch.zeros(3, device="meta"), 1.0, validate_args=False).sample(), "the meta device"),
    ],
)
def test_each_reason_is_said_in_words(draw, reason):
    with dist.accelerate() as acceleration:
        with contextlib.suppress(RuntimeError):
            draw()
        (said,) = {said for _, said in acceleration.report().left}  # what it is made of may have it too
    assert reason in said


@needs_generator
def test_an_argument_besides_the_shape_is_a_reason():
    with dist.accelerate() as acceleration:
        td.Gamma(POSITIVE, POSITIVE).rsample((2,), generator=torch.Generator())
        td.Gamma(POSITIVE, POSITIVE).rsample((2,), generator=None)
    assert acceleration.report().left == {("Gamma", "called with an argument besides sample_shape"): 1}
    assert acceleration.report().taken == {"Gamma": 1}


def test_a_report_is_read_by_people():
    with dist.accelerate() as acceleration:
        nothing = str(acceleration.report())
        td.Normal(REAL.double(), POSITIVE).sample((7,))
        for _ in range(1200):
            td.Normal(0.0, 1.0).sample()
    assert "None was taken: this program gains nothing" in nothing
    assert f"{__name__}.RsampleOnly.rsample" in nothing
    assert f"{__name__}.Plain" not in nothing
    assert "torch.randn" in nothing
    taken, left = str(acceleration.report()).splitlines()[1:3]
    assert taken.split() == ["taken", "1,200", "Normal"]
    assert left.split(maxsplit=4)[3:] == ["1", "Normal: parameters of two dtypes"]


def test_draws_of_all_threads_are_counted():
    def draw(_):
        d = td.Normal(0.0, 1.0)
        for _ in range(500):
            d.sample()

    with dist.accelerate() as acceleration, ThreadPoolExecutor(8) as pool:
        reads = [acceleration.report() for _ in pool.map(draw, range(8))]
    assert acceleration.report().taken == {"Normal": 4000}
    assert all(read.taken.get("Normal", 0) <= 4000 for read in reads)


def test_compiled_draws_are_not_counted(monkeypatch):
    monkeypatch.setattr(td.Distribution, "_validate_args", td.Distribution._validate_args)
    with dist.accelerate() as acceleration:
        torch.compile(
            lambda: td.Normal(REAL, POSITIVE, validate_args=False).rsample(), fullgraph=True, backend="eager"
        )()
    assert acceleration.report().taken == {}
