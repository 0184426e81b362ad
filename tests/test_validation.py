"""Parameters are checked as torch.distributions checks them, and on a GPU without waiting for it."""

import warnings

import pytest
import torch
import torch.distributions as td
from examples import EXAMPLES
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributions import constraints

import rsample.distributions as dist
from rsample.distributions import _validation
from rsample.kernels.draws import native_core
from rsample.kernels.engines.triton import checks


class Arrival:
    """An event that comes when it is told to."""

    def __init__(self):
        self.there = False

    def query(self):
        return self.there

    def synchronize(self):
        self.there = True


@pytest.fixture
def arrivals(monkeypatch):
    """CPU tensors are checked as a GPU's are; the list of events, in order, is the test's to set off."""
    events = []

    def to_host(valid):
        events.append(Arrival())
        return valid, events[-1]

    monkeypatch.setattr(_validation, "runs_behind", lambda value: True)
    monkeypatch.setattr(_validation, "watched", lambda: True)  # no glance at numbers
    monkeypatch.setattr(_validation, "_to_host", to_host)
    yield events
    _validation.PENDING.checks.clear()


BAD = {
    "Normal": {"loc": 0.0, "scale": -1.0},
    "Exponential": {"rate": 0.0},
    "Bernoulli": {"probs": 1.5},
    "Uniform": {"low": 1.0, "high": 0.0},
    "Gamma": {"concentration": float("nan"), "rate": 1.0},
    "Geometric": {"probs": 0.0},
    "Laplace": {"loc": float("nan"), "scale": 1.0},
    "LogNormal": {"loc": 0.0, "scale": 0.0},
    "RelaxedBernoulli": {"temperature": 1.0, "probs": -0.5},
    "StudentT": {"df": -1.0},
    "VonMises": {"loc": 0.0, "concentration": -1.0},
    "Dirichlet": {"concentration": [1.0, -1.0]},
    "Categorical": {"probs": [1.0, -1.0]},
    "TruncatedNormal": {"loc": 0.0, "scale": 1.0, "low": 2.0, "high": 1.0},
    "MultivariateNormal": {"loc": [0.0, 0.0], "scale_tril": [[1.0, 0.0], [0.0, -1.0]]},
}


def tensors(params):
    return {name: torch.tensor(value) for name, value in params.items()}


@pytest.mark.parametrize("family", BAD)
def test_bad_parameters_are_named(family):
    for validate_args in (None, True):
        with pytest.raises(ValueError, match="Expected parameter"):
            getattr(dist, family)(**tensors(BAD[family]), validate_args=validate_args)
    getattr(dist, family)(**tensors(BAD[family]), validate_args=False)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_glance_accepts_what_the_constraints_accept(example, monkeypatch):
    """NaN, infinities, zeros of either sign and numbers about 1: the two ways to check agree on each."""
    numbers = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1.0, 1.0 + 2**-23, -1.0, 0.5]
    values = example.values((3,), torch.float32)
    for i in range(len(values)):
        for number in numbers:
            params = [v.clone() for v in values]
            params[i][1] = number
            outcomes = []
            for glance in (True, False):
                with monkeypatch.context() as patch:
                    if not glance:
                        patch.setattr(_validation, "_satisfied", lambda value, constraint: False)
                    try:
                        example.make(*params)
                        outcomes.append(None)
                    except ValueError as error:
                        outcomes.append(str(error))
            assert outcomes[0] == outcomes[1], (i, number)


def matrices():
    """Matrices that constructors accept, and such that they do not, next to each other."""
    lower = torch.tensor([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-1.0, 0.3, 0.1]], dtype=torch.float64)
    for i, j, numbers in ((0, 0, (0.0, -0.0, -1.0, 1e-300)), (2, 1, (9.0,)), (0, 2, (-0.0, 1e-12, 1.0))):
        for number in (*numbers, torch.nan, torch.inf, -torch.inf):
            changed = lower.clone()
            changed[i, j] = number
            yield changed
            # Whether it is symmetric, and whether it is positive definite: by a little, or not by a little.
            product = lower @ lower.mT
            product[i, j] += number
            yield product
            product[j, i] = product[i, j]
            yield product
    for off in (1e-7, 1e-5, 1e-3):
        product = lower @ lower.mT
        product[2, 1] += off
        yield product
    for least in (1e-3, 1e-6, 1e-9, 0.0, -1e-9):
        turned = torch.linalg.qr(lower).Q
        yield turned @ torch.diag(torch.tensor([1.0, 2.0, least], dtype=torch.float64)) @ turned.mT


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["scale_tril", "covariance_matrix", "precision_matrix"])
def test_a_glance_at_matrices_accepts_what_torch_accepts(name, dtype):
    good = torch.eye(3, dtype=dtype)
    accepted = set()
    for matrix in matrices():
        one = matrix.to(dtype)
        both = torch.stack([good, one])
        for given in (one, both, both.mT.contiguous().mT, one.expand(40, 3, 3)):
            outcomes = []
            for library in (dist, td):
                try:
                    library.MultivariateNormal(torch.zeros(3, dtype=dtype), **{name: given})
                    outcomes.append(True)
                except (ValueError, torch.linalg.LinAlgError) as error:
                    outcomes.append(str(error).split(", but found")[0].replace("rsample.", "torch."))
            assert outcomes[0] == outcomes[1], one
            accepted.add(outcomes[0] is True)
    assert accepted == {False, True}


def test_matrices_are_looked_at_by_the_core(monkeypatch):
    if native_core.CORE is None:
        pytest.skip("there is no core: no compiler, or no headers of Python")
    factor, loc = torch.eye(3), torch.zeros(64, 3)

    def refused(*args):
        raise AssertionError("a constraint was checked")

    for constraint in (constraints.lower_cholesky, constraints.positive_definite, constraints.real):
        monkeypatch.setattr(type(constraint), "check", refused)
    dist.MultivariateNormal(loc, scale_tril=factor)
    dist.MultivariateNormal(loc, factor)
    dist.MultivariateNormal(loc.expand(1000, 64, 3), scale_tril=factor)
    dist.LowRankMultivariateNormal(loc, torch.ones(3, 2), torch.ones(3))
    dist.Wishart(torch.tensor([5.0, 6.0]), factor)
    with pytest.raises(AssertionError, match="was checked"):
        dist.MultivariateNormal(loc, scale_tril=factor + 1)


def test_messages_are_those_of_torch():
    messages = []
    for library in (dist, td):
        with pytest.raises(ValueError, match="scale") as error:
            library.Normal(torch.zeros(2), torch.tensor([1.0, -1.0]))
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_the_default_can_be_changed():
    td.Distribution.set_default_validate_args(False)
    normal = dist.Normal(0.0, torch.tensor(-1.0))
    categorical = dist.Categorical(torch.tensor([1.0, -1.0]))
    td.Distribution.set_default_validate_args(True)
    # As in torch, an instance that was told nothing follows.
    assert normal._validate_args
    assert categorical._validate_args


@pytest.mark.parametrize("family", BAD)
def test_a_failure_is_raised_once_its_outcome_is_there(family, arrivals):
    """Nothing is read before; the message names distribution, parameter and shape."""
    getattr(dist, family)(**tensors(BAD[family]))
    good = dist.Normal(torch.zeros(2), torch.ones(2))
    good.sample()
    for event in arrivals:
        event.there = True
    with pytest.raises(ValueError, match=rf"parameter \w+ \(Tensor of shape .*{family}"):
        good.sample()


def test_a_later_construction_raises_too(arrivals):
    dist.Normal(0.0, torch.tensor(-1.0))
    arrivals[0].there = arrivals[1].there = True
    with pytest.raises(ValueError, match="scale"):
        dist.Normal(0.0, torch.tensor(1.0))
    for event in arrivals:
        event.there = True
    dist.Normal(0.0, torch.tensor(1.0))  # raised once


def test_outcomes_are_looked_at_in_order(arrivals):
    dist.Exponential(torch.tensor(-1.0))
    dist.Exponential(torch.tensor(-2.0))
    arrivals[1].there = True
    good = dist.Normal(0.0, 1.0, validate_args=False)
    good.sample()
    arrivals[0].there = True
    for _ in range(2):
        with pytest.raises(ValueError, match="rate"):
            good.sample()
    good.sample()


def test_explicit_validation_waits(arrivals):
    with pytest.raises(ValueError, match="scale"):
        dist.Normal(0.0, torch.tensor(-1.0), validate_args=True)
    assert not arrivals


def test_what_nobody_looked_at_is_warned_of_in_the_end(arrivals):
    dist.Exponential(torch.tensor(-1.0))
    dist.Exponential(torch.tensor(1.0))
    with pytest.warns(UserWarning, match="rate") as caught:
        _validation.PENDING.warn_of_failures()
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _validation.PENDING.warn_of_failures()


def test_a_device_far_behind_is_waited_for(arrivals, monkeypatch):
    monkeypatch.setattr(_validation.PendingChecks, "MOST", 3)
    for _ in range(8):
        dist.Exponential(torch.tensor(1.0))
    assert len(_validation.PENDING.checks) <= 4
    assert arrivals[0].there


MAKERS = {str(example): (example.make, len(example.ranges)) for example in EXAMPLES} | {
    "Gamma": (dist.Gamma, 2),
    "Beta": (dist.Beta, 2),
    "StudentT": (dist.StudentT, 1),
    "VonMises": (dist.VonMises, 2),
    "Poisson": (dist.Poisson, 1),
    "Dirichlet": (dist.Dirichlet, 1),
    "Categorical": (dist.Categorical, 1),
    "OneHotCategorical": (lambda logits: dist.OneHotCategorical(logits=logits), 1),
    "MultivariateNormal": (lambda loc: dist.MultivariateNormal(loc, scale_tril=loc[:, None] * loc), 1),
}


@pytest.mark.parametrize(("make", "parameters"), MAKERS.values(), ids=MAKERS)
def test_construction_and_draw_on_a_gpu_read_nothing(make, parameters, monkeypatch):
    """A fake CUDA tensor has no values: reading one raises, in torch's own constructors for one. So does showing it."""

    def shown(tensor, **options):
        raise AssertionError("a tensor's numbers are read, to be shown")

    monkeypatch.setattr(torch._tensor_str, "_str", shown)
    with FakeTensorMode(allow_non_fake_inputs=True):
        params = [torch.empty(4, device="cuda") for _ in range(parameters)]
        key = torch.empty(2, dtype=torch.uint64, device="cuda")
        d = make(*params)
        drawn = [*d.sample_with_log_prob((3,), key=key), d.sample((3,), key=key)]
        if d.has_rsample:
            drawn += [*d.rsample_with_log_prob((3,), key=key), d.rsample((3,), key=key)]
    assert all(x.shape[0] == 3 and x.device.type == "cuda" for x in drawn)


@pytest.mark.cuda
@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_no_synchronisation_on_a_gpu(example):
    params = [p.cuda() for p in example.values((4,), torch.float32)]
    example.make(*params).sample()  # compiles
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        d = example.make(*params)
        d.sample()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_compiled_code_does_not_depend_on_pending_checks():
    """It is compiled once, however many checks are on their way; a failed one is left to the next draw outside."""

    class Late:
        here = False
        query = lambda self: self.here  # noqa: E731
        __bool__ = lambda self: False  # noqa: E731

    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph

    def unchecked(loc):
        return dist.Normal(loc, 1.0, validate_args=False)

    draw = torch.compile(lambda loc: unchecked(loc).sample(), fullgraph=True, backend=backend)
    outcome = Late()
    for _ in range(4):
        _validation.PENDING.add(outcome, outcome, lambda: "scale is bad")
        draw(torch.zeros(3))
    assert len(compiled) == 1
    outcome.here = True
    torch.compiler.reset()
    draw(torch.zeros(3))
    for _ in range(4):
        with pytest.raises(ValueError, match="scale is bad"):
            dist.Normal(0.0, 1.0).sample()


@pytest.mark.cuda
def test_a_bad_parameter_on_a_gpu_is_raised_by_a_later_draw():
    dist.Normal(0.0, torch.full((3,), -1.0, device="cuda")).sample()
    torch.cuda.synchronize()
    with pytest.raises(ValueError, match="scale"):
        dist.Normal(0.0, torch.ones(3, device="cuda")).sample()


def test_the_driver_is_never_asked_for_an_outcome(on_a_stub_gpu):
    """Nor is anything checked while a graph is captured. In another thread's capture CUDA forbids such questions."""
    lines = on_a_stub_gpu("""
        import rsample.distributions as dist
        from rsample.distributions._validation import PENDING

        x = torch.ones(4, device="cuda")
        d = dist.Normal(x, x)  # no kernel runs here: its checks stay on their way
        d.sample()
        assert len(PENDING.checks) == 2
        dist.Wishart(x + 2, scale_tril=torch.diag_embed(x[:2]))
        assert len(PENDING.checks) > 2
        asked = ("eventQuery", "eventRecord", "eventSync", "toHost", "streamSync")
        for make in (d.sample, lambda: dist.Normal(x, x), lambda: dist.Normal(x, x).sample()):
            print({k: v for k, v in stub.counts(make).items() if k in asked})
        print(stub.counts(lambda: dist.Normal(x, x)))
        dist.Normal(x, x, validate_args=False).sample()
        stub.capturing.value = 1
        makers = (
            lambda: dist.Normal(x, x),
            lambda: dist.Categorical(logits=x),
            lambda: dist.Wishart(x + 2, scale_tril=torch.diag_embed(x[:2])),
            lambda: dist.LowRankMultivariateNormal(x, x[:, None], x),
        )
        for make in (lambda: d.loc, *makers):
            before = len(PENDING.checks)
            counts = stub.counts(make)
            assert len(PENDING.checks) == before
            print({k: v for k, v in counts.items() if k in asked})
        print(stub.counts(lambda: dist.Normal(x, x)).get("launch", 0))
        PENDING.checks.clear()
    """)
    assert lines[:3] == ["{}"] * 3
    assert "'tritonLaunch': 2" in lines[3]
    assert lines[4:] == ["{}"] * 5 + ["0"]


@pytest.mark.kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n", [1, 1023, 1024, 5000])
@pytest.mark.parametrize("kind", range(5))
def test_the_kernel_checks_each_number(kind, n, dtype, device):
    constraint = next(c for c, k in _validation._KINDS.items() if k == kind)
    good = torch.full((n,), 1.0, dtype=dtype)
    cases = [good]
    for number in (torch.nan, torch.inf, -torch.inf, 0.0, -0.0, 0.5, 1.5, -1.0):
        for i in {0, n // 2, n - 1}:
            cases.append(good.clone())
            cases[-1][i] = number
    for value in cases:
        out = torch.full((), 255, dtype=torch.uint8, device=device)
        checks.check(value.to(device), kind, out)
        assert out.item() == constraint.check(value).all()
    one = torch.tensor(-0.5, dtype=dtype, device=device).expand(n)
    out = torch.full((), 255, dtype=torch.uint8, device=device)
    assert checks.can_check(one)
    checks.check(one, kind, out)
    assert out.item() == (kind == checks.REAL)


def test_outcomes_are_bytes_in_turn():
    outcomes = checks.Outcomes(3)
    a, b = (outcomes.take(torch.device("cpu")) for _ in range(2))
    assert not a.query()
    b.target.copy_(torch.tensor(True).view(torch.uint8))
    assert b.query()
    assert b
    assert not a.query()
    a.target.zero_()
    assert a.query()
    assert not a
    again = [outcomes.take(torch.device("cpu")) for _ in range(2)]
    assert not again[1].query()  # the first one's byte
