"""Categorical and one-hot distributions: draws on the CPU's backends, statistics, gradients, torch's own behaviour."""

import copy
import pickle

import pytest
import torch
from race_cases import check_drawn, weights
from scipy import stats
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import kl_divergence

from rsample.distributions.categorical import Categorical
from rsample.distributions.one_hot_categorical import OneHotCategorical, OneHotCategoricalStraightThrough
from rsample.kernels import use_backend
from rsample.kernels.engines.cpu import rows as compiled

KEY = torch.tensor([20_26, 2**32 - 5], dtype=torch.uint64)
FAMILIES = [Categorical, OneHotCategorical, OneHotCategoricalStraightThrough]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
vmap = torch.func.vmap


@pytest.fixture(autouse=True)
def _validating(monkeypatch):
    """torch.compile turns validation off for the rest of the process."""
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)


def theirs(family):
    return getattr(torch.distributions, family.__name__)


def keyed(seed):
    return torch.tensor([seed, 0], dtype=torch.uint64)


# -- draws


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("from_probs", [False, True])
@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_draws_are_the_oracles(dtype, from_probs, backend):
    if backend == "compiled" and not compiled.available(dtype):
        pytest.skip("no C++ compiler")
    # A last row shorter than a vector, a row of several tasks, rows of tiles, broadcast and strided rows.
    for shape, given in (
        ((37, 1), (37, 1)),
        ((50, 11), (50, 11)),
        ((7, 5, 130), (5, 1, 130)[1:]),
        ((9, 3, 64), (3, 64)),
        ((2, 40_001), (2, 40_001)),
        ((2, 16_384), (16_384,)),
    ):
        w = weights(given, dtype, from_probs=from_probs)
        distribution = Categorical(**{"probs" if from_probs else "logits": w}, validate_args=False)
        distribution = distribution.expand(shape[:-1])
        with use_backend(backend):
            index = distribution.sample(key=KEY)
            one_hot, log_prob = (
                OneHotCategorical(**{"probs" if from_probs else "logits": w}, validate_args=False)
                .expand(shape[:-1])
                .sample_with_log_prob(key=KEY)
            )
        check_drawn(index, w, shape, from_probs=from_probs, key=KEY)
        assert torch.equal(one_hot, torch.nn.functional.one_hot(index, shape[-1]).to(dtype))
        expected = theirs(Categorical)(
            **{"probs" if from_probs else "logits": w.double()}, validate_args=False
        ).log_prob(index)
        if from_probs:  # clamped as the dtype at hand is
            eps = torch.finfo(dtype).eps
            expected = expected.exp().clamp(eps, 1 - eps).log()
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(log_prob.double(), expected, rtol=2 * eps, atol=max(4 * eps, 1e-14))


def test_the_number_of_threads_changes_no_bit():
    if not compiled.available(torch.float32):
        pytest.skip("no C++ compiler")
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            for shape in ((1, 100_000), (300, 200)):
                logits = weights(shape, torch.float32)
                results.append(Categorical(logits=logits).sample_with_log_prob(key=KEY))
    finally:
        torch.set_num_threads(threads)
    for later in (results[2:4], results[4:6]):
        for ours, first in zip(later, results[:2], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours, first, strict=True))


def test_strides_of_every_kind():
    base = weights((48, 40), torch.float32)
    for w in (base.t(), base[:, 1:], base[:, ::2], base[::2], base.t()[:, :5], base[:1, :1].expand(48, 40)):
        for backend in ("reference", "compiled"):
            with use_backend(backend):
                check_drawn(Categorical(logits=w).sample((20,), key=KEY), w, (20, *w.shape), key=KEY)


@pytest.mark.parametrize("family", FAMILIES)
def test_empty_and_zero_dim_batches(family):
    event = () if family is Categorical else (3,)
    assert family(logits=torch.zeros(0, 3)).sample((4,)).shape == (4, 0, *event)
    assert family(logits=torch.zeros(3)).sample((0,)).shape == (0, *event)
    assert family(logits=torch.zeros(3)).sample().shape == event
    value, log_prob = family(logits=torch.zeros(0, 3)).sample_with_log_prob((4,))
    assert (value.shape, log_prob.shape) == ((4, 0, *event), (4, 0))


@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_a_row_nobody_can_win_gives_category_0(backend):
    with use_backend(backend):
        for row in (torch.full((40,), -torch.inf), torch.full((40,), torch.nan)):
            assert Categorical(logits=row, validate_args=False).sample(key=KEY) == 0
        row = torch.full((40,), torch.nan)
        row[33] = -1e4
        assert Categorical(logits=row, validate_args=False).sample(key=KEY) == 33
        logits = torch.zeros(40)
        logits[7::5] = 1e12
        assert Categorical(logits=logits).sample(key=KEY) == 7


def test_the_sample_does_not_depend_on_the_size_of_the_draw():
    logits = weights((4096, 16), torch.float32)
    large = Categorical(logits=logits).sample(key=KEY)
    small = Categorical(logits=logits[:64]).sample(key=KEY)
    assert torch.equal(large[:64], small)


# -- statistics: goodness of fit, each at a fixed key, with probability 1e-4 of a false alarm at another one

VERY_UNEQUAL = torch.tensor([1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.3, 1 - 0.41111101], dtype=torch.float64)


@pytest.mark.parametrize(
    "probs",
    [
        torch.full((7,), 1 / 7, dtype=torch.float64),
        torch.softmax(weights((257,), torch.float64), 0),
        VERY_UNEQUAL,
    ],
    ids=["equal", "257", "very unequal"],
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("from_probs", [False, True])
def test_goodness_of_fit(probs, dtype, from_probs):
    n = 2**14 if probs.numel() == 257 else 2**18
    given = (probs if from_probs else probs.log()).to(dtype)
    exact = given.double() if from_probs else given.double().exp()
    exact = exact / exact.sum()
    sample = Categorical(**{"probs" if from_probs else "logits": given}, validate_args=False).sample((n,), key=keyed(3))
    observed = torch.bincount(sample, minlength=len(probs)).double()
    expected = exact * n
    rare = expected < 5  # counted as one
    if rare.any():
        observed = torch.cat([observed[~rare], observed[rare].sum().reshape(1)])
        expected = torch.cat([expected[~rare], expected[rare].sum().reshape(1)])
    p = stats.chisquare(observed.numpy(), expected.numpy()).pvalue
    assert p > 1e-4


def test_rare_categories_come_as_often_as_they_should():
    """10**6 categories of probability 1e-8 each beside one of 0.99: the rare ones come 1% of the time, all alike."""
    k, n = 10**6, 12
    logits = torch.full((k + 1,), -8 * 2.302585093, dtype=torch.float32)
    logits[0] = -0.01005034
    sample = Categorical(logits=logits).sample((n,), key=keyed(1))
    assert (sample == 0).sum() >= n - 3  # a fourth: p = 5e-6
    logits[0] = -torch.inf
    sample = Categorical(logits=logits).sample((n,), key=keyed(1))
    assert stats.kstest(sample.double().numpy() / k, "uniform").pvalue > 1e-4


# -- gradients


@pytest.mark.parametrize("family", [Categorical, OneHotCategorical])
@pytest.mark.parametrize("name", ["logits", "probs"])
@pytest.mark.parametrize("sample_shape", [(), (4,)])
def test_score(family, name, sample_shape):
    param = weights((3, 5), torch.float64, from_probs=name == "probs").requires_grad_()
    ours = family(**{name: param})
    x, log_prob = ours.sample_with_log_prob(sample_shape, key=KEY)
    assert not x.requires_grad
    assert torch.equal(x, ours.sample(sample_shape, key=KEY))
    expected = theirs(family)(**{name: param}).log_prob(x)
    torch.testing.assert_close(log_prob, expected, rtol=1e-12, atol=1e-12)
    weight = torch.linspace(0.5, 1.5, log_prob.numel(), dtype=torch.float64).reshape(log_prob.shape)
    for value in (log_prob, ours.log_prob(x)):
        torch.testing.assert_close(
            torch.autograd.grad((value * weight).sum(), param),
            torch.autograd.grad((expected * weight).sum(), param, retain_graph=True),
        )

    def draw(p):
        return family(**{name: p}, validate_args=False).sample_with_log_prob(sample_shape, key=KEY)[1]

    assert gradcheck(draw, (param,), check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    assert gradgradcheck(draw, (param,))


def test_clamped_probabilities_have_no_gradient_as_in_torch():
    probs = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    x, log_prob = Categorical(probs).sample_with_log_prob(key=KEY)
    assert x == 0
    torch.testing.assert_close(log_prob, torch.distributions.Categorical(probs).log_prob(x))
    assert torch.equal(torch.autograd.grad(log_prob, probs)[0], torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("name", ["logits", "probs"])
def test_straight_through(name):
    param = weights((3, 5), torch.float64, from_probs=name == "probs").requires_grad_()
    ours = OneHotCategoricalStraightThrough(**{name: param})
    x, log_prob = ours.rsample_with_log_prob((4,), key=KEY)
    assert torch.equal(x, ours.rsample((4,), key=KEY))
    assert torch.equal(x.detach().round(), ours.sample((4,), key=KEY))
    weight = torch.linspace(0.5, 1.5, x.numel(), dtype=torch.float64).reshape(x.shape)
    reference = theirs(OneHotCategoricalStraightThrough)(**{name: param})
    expected = (reference.probs * weight).sum() + reference.log_prob(x.detach().round()).sum()
    torch.testing.assert_close(
        torch.autograd.grad((x * weight).sum() + log_prob.sum(), param), torch.autograd.grad(expected, param)
    )


@pytest.mark.parametrize("name", ["logits", "probs"])
def test_straight_through_has_the_derivatives_of_its_sum_with_probabilities(name):
    """sample + probs - probs.detach() by torch's operations, in float64: roundings are the only difference."""
    param, tangent = (weights((3, 5), torch.float64, from_probs=name == "probs") * c for c in (1.0, 0.5))
    w = torch.linspace(0.5, 1.5, 60, dtype=torch.float64).reshape(4, 3, 5)

    def ours(param):
        return OneHotCategoricalStraightThrough(**{name: param}, validate_args=False).rsample((4,), key=KEY)

    def expected(param):
        drawn = OneHotCategorical(**{name: param}, validate_args=False).sample((4,), key=KEY)
        probs = param.softmax(-1) if name == "logits" else param / param.sum(-1, keepdim=True)
        return drawn + (probs - probs.detach())

    def loss(f):
        return lambda param: (f(param) * w).square().sum()

    assert torch.equal(ours(param), expected(param))
    for derivative in (
        lambda f: torch.func.jvp(f, (param,), (tangent,))[1],
        lambda f: torch.func.grad(loss(f))(param),
        lambda f: torch.func.jvp(torch.func.grad(loss(f)), (param,), (tangent,))[1],
        lambda f: vmap(torch.func.grad(lambda p: (f(p) * w[:, 0]).sum()), randomness="same")(param),
    ):
        torch.testing.assert_close(derivative(ours), derivative(expected))
    given = param.requires_grad_()
    second = []
    for f in (ours, expected):
        (grad,) = torch.autograd.grad(loss(f)(given), given, create_graph=True)
        second.append(torch.autograd.grad(grad.square().sum(), given)[0])
    torch.testing.assert_close(*second)


def test_half_precision_gradients_are_computed_in_float32():
    logits = weights((64,), torch.bfloat16).requires_grad_()
    x, log_prob = Categorical(logits=logits).sample_with_log_prob((100,), key=KEY)
    (grad,) = torch.autograd.grad(log_prob.sum(), logits)
    wide = logits.detach().float().requires_grad_()
    (expected,) = torch.autograd.grad(torch.distributions.Categorical(logits=wide).log_prob(x).sum(), wide)
    torch.testing.assert_close(grad.float(), expected, rtol=2**-8, atol=1e-4)


# -- torch.distributions' own behaviour


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["logits", "probs"])
def test_everything_else_is_torchs(family, name):
    param = weights((3, 5), torch.float32, from_probs=name == "probs").requires_grad_()
    ours, reference = family(**{name: param}), theirs(family)(**{name: param})
    assert isinstance(ours, theirs(family))
    if family is Categorical:
        assert repr(ours) == repr(reference)
    for attribute in ("probs", "logits", "_param", "mean", "mode", "variance"):
        torch.testing.assert_close(
            getattr(ours, attribute), getattr(reference, attribute), rtol=0, atol=0, equal_nan=True
        )
    for attribute in ("batch_shape", "event_shape", "param_shape", "has_rsample", "has_enumerate_support"):
        assert getattr(ours, attribute) == getattr(reference, attribute)
    torch.testing.assert_close(ours.entropy(), reference.entropy())
    assert torch.equal(ours.enumerate_support(), reference.enumerate_support())
    other = family(logits=torch.zeros(3, 5))
    torch.testing.assert_close(
        kl_divergence(ours, other), kl_divergence(reference, theirs(family)(logits=torch.zeros(3, 5)))
    )
    (grad,), (expected,) = (torch.autograd.grad(d.logits.exp().square().sum(), param) for d in (ours, reference))
    torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_and_expansions_draw_the_same(family):
    logits = weights((3, 5), torch.float32)
    ours = family(logits=logits)
    sample = ours.sample(key=KEY)
    for same in (copy.copy(ours), copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), ours.expand((3,))):
        assert torch.equal(same.sample(key=KEY), sample)
    expanded = ours.expand((4, 3))
    assert isinstance(expanded, family)
    assert (expanded.batch_shape, expanded.param_shape) == ((4, 3), (4, 3, 5))
    assert expanded.probs.shape == (4, 3, 5)
    assert torch.equal(expanded.sample(key=KEY), ours.sample((4,), key=KEY))
    with pytest.raises(RuntimeError):
        ours.expand((4, 2))


def test_nothing_is_normalised_until_somebody_asks():
    ours = Categorical(logits=torch.zeros(3, 5))
    ours.expand((4, 3)).sample()
    ours.sample_with_log_prob()
    assert not {"logits", "probs"} & ours.__dict__.keys()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "arguments",
    [
        {"logits": torch.tensor([0.0, torch.nan])},
        {"logits": torch.tensor([[0.0, 1.0], [-torch.inf, -torch.inf]])},
        {"logits": torch.tensor([0.0, torch.inf])},
        {"probs": torch.tensor([0.5, -0.5])},
        {"probs": torch.tensor([0.0, 0.0])},
        {"probs": torch.tensor([0.5, torch.nan])},
        {"probs": torch.tensor([0.5, torch.inf])},
    ],
)
def test_validation_refuses_what_torch_refuses(family, arguments):
    (name,) = arguments
    for cls in (family, theirs(family)):
        with pytest.raises(ValueError, match=f"Expected parameter {name}"):
            cls(**arguments)
    family(**arguments, validate_args=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_bad_input(family):
    with pytest.raises(ValueError, match="Either `probs` or `logits`"):
        family()
    with pytest.raises(ValueError, match="Either `probs` or `logits`"):
        family(torch.ones(2), torch.zeros(2))
    with pytest.raises(ValueError, match="`logits` parameter must be at least one-dimensional"):
        family(logits=torch.tensor(0.0))
    ours, state = family(logits=torch.zeros(2, 3)), torch.get_rng_state()
    for error, message, arguments in (
        (ValueError, "sample_shape", {"sample_shape": (-1,)}),
        (TypeError, "sample_shape", {"sample_shape": "ab"}),
        (TypeError, "key must be a tensor", {"key": 3}),
        (ValueError, "key has shape", {"key": torch.zeros(2)}),
        (ValueError, "exclude each other", {"key": KEY, "generator": torch.Generator()}),
        (TypeError, "generator", {"generator": 3}),
    ):
        for method in (ours.sample, ours.sample_with_log_prob):
            with pytest.raises(error, match=message):
                method(**arguments)
    with pytest.raises(TypeError, match="logits must be float16, bfloat16, float32 or float64"):
        family(logits=torch.zeros(3, dtype=torch.complex64), validate_args=False).sample()
    if family is not OneHotCategoricalStraightThrough:
        for method in (ours.rsample, ours.rsample_with_log_prob):
            with pytest.raises(NotImplementedError, match=f"{family.__name__} has no reparameterised draw"):
                method()
    assert torch.equal(torch.get_rng_state(), state)


# -- generators, vmap, tracing


def test_generators_and_seeds():
    ours = Categorical(logits=torch.zeros(50, 9))
    torch.manual_seed(3)
    first, second = ours.sample(), ours.sample()
    torch.manual_seed(3)
    assert torch.equal(ours.sample(), first)
    assert not torch.equal(first, second)
    assert torch.equal(ours.sample(generator=torch.Generator().manual_seed(3)), first)


def make(logits):
    return Categorical(logits=logits, validate_args=False)


def test_vmap():
    logits = weights((3, 6), torch.float32)
    different = vmap(lambda x: make(x).sample((5,), key=KEY), randomness="different")(logits)
    assert torch.equal(different, make(logits[:, None]).expand((3, 5)).sample(key=KEY))
    same = vmap(lambda x: make(x).sample((5,), key=KEY), randomness="same")(logits)
    assert torch.equal(same, torch.stack([make(x).sample((5,), key=KEY) for x in logits]))
    keys = torch.stack([KEY, keyed(5)])
    mapped = vmap(lambda k: make(logits).sample(key=k))(keys)
    assert torch.equal(mapped, torch.stack([make(logits).sample(key=k) for k in keys]))
    unmapped = vmap(lambda x: x + make(logits[0]).sample((5,), key=KEY), randomness="different")(torch.zeros(4))
    assert torch.equal(unmapped.long(), make(logits[0]).sample((4, 5), key=KEY))
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="randomness error mode"):
        vmap(lambda x: make(x).sample())(logits)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("randomness", ["different", "same"])
def test_per_example_scores(randomness):
    logits = weights((3, 6), torch.float64)
    score = torch.func.grad(lambda x: make(x).sample_with_log_prob((5,), key=KEY)[1].square().sum())
    ours = vmap(score, randomness=randomness)(logits)
    given = logits.clone().requires_grad_()
    if randomness == "different":
        log_prob = make(given[:, None]).expand((3, 5)).sample_with_log_prob(key=KEY)[1]
    else:
        log_prob = torch.stack([make(x).sample_with_log_prob((5,), key=KEY)[1] for x in given])
    torch.testing.assert_close(ours, torch.autograd.grad(log_prob.square().sum(), given)[0])


def draws(logits, key=None):
    one_hot = OneHotCategoricalStraightThrough(logits=logits, validate_args=False)
    value, log_prob = make(logits).sample_with_log_prob((2,), key=key)
    return make(logits).sample((3,), key=key), value, log_prob, one_hot.rsample(key=key)


@pytest.mark.parametrize("keyed_draw", [True, False])
def test_compiled_draws_equal_eager_ones(keyed_draw):
    torch._dynamo.reset()
    logits = weights((4, 7), torch.float32).requires_grad_()
    results = []
    for function in (draws, torch.compile(draws, fullgraph=True)):
        torch.manual_seed(0)
        outputs = function(logits, KEY if keyed_draw else None)
        (grad,) = torch.autograd.grad(outputs[2].sum() + (outputs[3] * torch.arange(7.0)).sum(), logits)
        results.append((*outputs, grad))
    for compiled_result, eager in zip(*results, strict=True):
        torch.testing.assert_close(compiled_result, eager, rtol=1e-5, atol=1e-5)
    assert torch.equal(results[0][0], results[1][0])


def test_tracing_on_fake_cuda_tensors():
    torch._dynamo.reset()
    with FakeTensorMode(allow_non_fake_inputs=True):
        logits = torch.empty(4, 7, device="cuda")
        for sample in (*draws(logits), *torch.compile(draws, backend="eager", fullgraph=True)(logits)):
            assert sample.device.type == "cuda"


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("options", [(False,) * 4, (True, False, True, False), (False, True, True, True)])
def test_opcheck(requires_grad, options):
    w = weights((3, 1, 4), torch.float32, from_probs=True).requires_grad_(requires_grad)
    utils = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if options[1] or not requires_grad:  # opcheck's own loss cannot take integers beside floats
        utils.append("test_aot_dispatch_dynamic")
    torch.library.opcheck(torch.ops.rsample.categorical.default, ([KEY], w, (2, 3, 5, 4), *options), test_utils=utils)
