"""Draws over rows by the native core: what it takes over, with which bits, and what it leaves to Python.

test_plans.py compares every class; test_native_core.py has what holds for all nodes.
"""

import subprocess
import sys

import pytest
import torch
from torch.autograd import forward_ad

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.draws import native_core
from rsample.kernels.draws.rows import autograd

KEY = torch.tensor([20261130, 6], dtype=torch.uint64)
FUNCTIONS = ("race", "relaxed", "dirichlet", "counts")
TEMPERATURE = 0.6


def temperature(dtype, requires_grad=True):
    return torch.tensor(TEMPERATURE, dtype=dtype, requires_grad=requires_grad)


# Of a tensor of positive numbers, a temperature and options.
PATHWISE = {
    "Dirichlet": lambda w, t, **options: dist.Dirichlet(w, **options),
    "RelaxedOneHotCategorical": lambda w, t, **options: dist.RelaxedOneHotCategorical(t, logits=w, **options),
    "RelaxedOneHotCategorical of probs": lambda w, t, **options: dist.RelaxedOneHotCategorical(t, w, **options),
    "ExpRelaxedCategorical": lambda w, t, **options: dist.ExpRelaxedCategorical(t, logits=w, **options),
    "Straight through": lambda w, t, **options: dist.OneHotCategoricalStraightThrough(logits=w, **options),
    "Straight through of probs": lambda w, t, **options: dist.OneHotCategoricalStraightThrough(w, **options),
}
MAKE = {**PATHWISE, "Multinomial": lambda w, t, **options: dist.Multinomial(5, w, **options)}


@pytest.fixture(autouse=True)
def taken(monkeypatch):
    """What the core has answered: True for each draw over rows that it made."""
    if native_core.CORE is None:
        pytest.skip("there is no core: no compiler, or no headers of Python")
    answers = []

    class Counted:
        def __getattr__(self, name):
            function = getattr(core, name)
            if name not in FUNCTIONS:
                return function

            def draw(*args):
                drawn = function(*args)
                if drawn is not True:  # it has to be told of a layout first
                    answers.append(drawn is not None)
                return drawn

            return draw

    core = native_core.CORE
    monkeypatch.setattr(native_core, "CORE", Counted())
    return answers


@pytest.fixture
def by_python(monkeypatch):
    def run(function):
        with monkeypatch.context() as patch:
            patch.setattr(native_core, "CORE", None)
            return function()

    return run


@pytest.fixture(autouse=True)
def _loops_are_built():
    """That of Dirichlet's gradients is, at its first backward pass, after which draws know it."""
    for dtype in (torch.float32, torch.float64):
        dist.Dirichlet(torch.ones(2, dtype=dtype, requires_grad=True)).rsample(key=KEY).sum().backward()


def weights(shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(shape, generator=generator, dtype=torch.float64).add_(0.2).to(dtype)


def results(make, given, sample_shape=(), method="rsample"):
    """A sample and, where it has some, its gradients."""
    t = temperature(given.dtype)
    torch.manual_seed(11)
    x = getattr(make(given, t), method)(sample_shape)
    if not x.requires_grad:
        return (x,)
    grad = torch.linspace(-1, 2, x.numel(), dtype=x.dtype).reshape(x.shape)
    grads = torch.autograd.grad(x, (given, t), grad, allow_unused=True)
    return x.detach(), *(g for g in grads if g is not None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 4), (8, 4), (4,), (2, 3, 5), (3, 1), (5, 700), (64, 128)])
@pytest.mark.parametrize("name", MAKE)
def test_bits_are_pythons(name, shape, dtype, taken, by_python):
    given = weights(shape, dtype).requires_grad_(name in PATHWISE)
    for method in ("sample", "rsample") if name in PATHWISE else ("sample",):
        expected = by_python(lambda method=method: results(MAKE[name], given, method=method))
        for _ in range(2):
            taken.clear()
            result = results(MAKE[name], given, method=method)
            assert taken == [True]
            torch.testing.assert_close(result, expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("shape", "sample_shape"), [((4,), (6,)), ((3, 4), (2,)), ((4,), (2, 1, 3)), ((2, 1, 3), (5,)), ((3, 1), (2,))]
)
@pytest.mark.parametrize("name", MAKE)
def test_several_draws_of_a_row(name, shape, sample_shape, dtype, taken, by_python):
    given = weights(shape, dtype).requires_grad_(name in PATHWISE)
    method = "rsample" if name in PATHWISE else "sample"
    expected = by_python(lambda: results(MAKE[name], given, sample_shape, method))
    taken.clear()
    sample, *grads = results(MAKE[name], given, sample_shape, method)
    assert taken == [True]
    torch.testing.assert_close(sample, expected[0], rtol=0, atol=0)
    for grad, other in zip(grads, expected[1:], strict=True):
        # Python adds up in the dtype, and in another order, terms that may cancel.
        assert grad.shape == other.shape
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(grad, other, rtol=8 * eps, atol=64 * eps * grad.abs().max().item())


@pytest.mark.parametrize("name", [name for name in PATHWISE if name != "Dirichlet"])
def test_rows_that_lie_apart(name, taken, by_python):
    """And, of relaxed draws, those that share memory."""
    memory = weights((6, 8))
    relaxed = "Relaxed" in name
    for given in (memory[::2, :4], memory[:, 3:7]) + ((memory[:1, :4].expand(6, 4),) if relaxed else ()):
        base = make_base(name, given)
        torch.manual_seed(3)
        result = base.rsample()
        torch.manual_seed(3)
        torch.testing.assert_close(result, by_python(base.rsample), rtol=0, atol=0)
    assert True in taken


def make_base(name, given):
    return PATHWISE[name](given, temperature(given.dtype, requires_grad=False))


def test_gradients_of_any_layout(by_python):
    memory = torch.linspace(-1, 2, 48).reshape(4, 12).T  # (12, 4)
    for name, make in PATHWISE.items():
        given = weights((12, 4)).requires_grad_()
        for grad in (memory, torch.ones(()).expand(12, 4), memory[:1].expand(12, 4), memory.conj()):

            def gradient(make=make, given=given, grad=grad):
                torch.manual_seed(5)
                return torch.autograd.grad(make(given, temperature(torch.float32, False)).rsample(), given, grad)

            torch.testing.assert_close(gradient(), by_python(gradient), rtol=0, atol=0, msg=name)


class Seen(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", MAKE)
def test_what_is_watched_is_left_to_python(name, taken):
    given = weights((3, 4))
    method = "rsample" if name in PATHWISE else "sample"
    draw = getattr(MAKE[name](given, temperature(torch.float32)), method)

    def drawn(w):
        return getattr(MAKE[name](w, temperature(w.dtype, False), validate_args=False), method)()

    def left(function, *args):
        taken.clear()
        function(*args)
        assert True not in taken

    with use_backend("reference"):
        left(draw)
    left(lambda: draw(key=KEY))
    left(lambda: draw(generator=torch.Generator().manual_seed(1)))
    with Seen():
        left(draw)
    left(torch.func.vmap(drawn, randomness="different"), weights((2, 3, 4)))
    if name in PATHWISE:
        left(drawn, weights((3, 4), torch.bfloat16).requires_grad_())
        left(torch.func.grad(lambda w: drawn(w)[..., 0].sum()), given)
        with forward_ad.dual_level():
            left(drawn, forward_ad.make_dual(given, torch.ones(3, 4)))
    taken.clear()
    draw()
    assert taken == [True]


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_without_a_graph(guard, taken):
    for make in PATHWISE.values():
        given = weights((3, 4)).requires_grad_()
        d = make(given, temperature(torch.float32))
        taken.clear()
        with guard():
            x = d.rsample()
        assert not x.requires_grad
        assert not d.sample().requires_grad
        assert taken == [True, True]


@pytest.mark.parametrize("name", PATHWISE)
def test_second_derivatives(name, taken, by_python):
    given = weights((3, 4), torch.float64).requires_grad_()

    def gradients():
        torch.manual_seed(2)
        x = PATHWISE[name](given, temperature(torch.float64, False)).rsample()
        (first,) = torch.autograd.grad((x * x.detach().square()).sum(), given, create_graph=True)
        return first.detach(), *torch.autograd.grad(first.square().sum(), given)

    result = gradients()
    assert taken == [True]
    torch.testing.assert_close(result, by_python(gradients), rtol=0, atol=0)


@pytest.mark.parametrize("name", PATHWISE)
def test_batched_gradients(name, by_python):
    given = weights((2, 3), torch.float64).requires_grad_()

    def jacobian():
        torch.manual_seed(2)
        x = PATHWISE[name](given, temperature(torch.float64, False)).rsample()
        basis = torch.eye(6, dtype=torch.float64).reshape(6, 2, 3)
        return torch.autograd.grad(x, given, basis, is_grads_batched=True)[0]

    torch.testing.assert_close(jacobian(), by_python(jacobian))


@pytest.mark.parametrize("name", PATHWISE)
def test_a_sample_that_is_overwritten(name, taken):
    given = weights((3, 4)).requires_grad_()

    def gradient(overwrite):
        torch.manual_seed(2)
        x = PATHWISE[name](given, temperature(torch.float32, False)).rsample()
        if overwrite:
            x.data.fill_(0.25)
        return torch.autograd.grad(x, given, torch.linspace(0, 1, 12).reshape(3, 4))

    torch.testing.assert_close(gradient(True), gradient(False), rtol=0, atol=0)
    assert taken == [True, True]


@pytest.mark.parametrize("rows", [2, autograd.COPIED])
@pytest.mark.parametrize("name", PATHWISE)
def test_what_is_kept(name, rows, taken):
    """The parameters and, of few numbers, what is not the caller's to overwrite."""
    given, t = weights((rows, 3)).requires_grad_(), temperature(torch.float32)
    kept = []
    d = PATHWISE[name](given, t)
    taken.clear()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        x = d.rsample()
    assert taken == [True]
    params = [given.shape, t.shape] if "Relaxed" in name else [given.shape]
    expected = params + [given.shape] * (rows == 2 and "Straight" not in name)
    # Before it, what makes logits of probabilities keeps its own.
    assert [k.shape for k in kept[-len(expected) :]] == expected
    assert len(kept) == len(expected) or name == "RelaxedOneHotCategorical of probs"
    assert x.data_ptr() not in [k.data_ptr() for k in kept]


@pytest.mark.parametrize("name", ["Dirichlet", "ExpRelaxedCategorical", "Straight through"])
def test_parameters_that_are_edited(name):
    d = PATHWISE[name](1 * weights((3, 4)).requires_grad_(), temperature(torch.float32))
    x = d.rsample()
    with torch.no_grad():
        (d.concentration if name == "Dirichlet" else d._categorical._weights).add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        x.sum().backward()


def test_backward_in_a_block_of_use_backend_goes_its_way(taken, monkeypatch):
    called = []
    loop = autograd.compiled.relaxed_gradient
    monkeypatch.setattr(
        autograd.compiled, "relaxed_gradient", lambda *args, **kwargs: called.append(1) or loop(*args, **kwargs)
    )
    logits = weights((3, 4)).requires_grad_()
    x = dist.ExpRelaxedCategorical(temperature(torch.float32), logits=logits).rsample()
    assert taken == [True]

    def gradient():
        return torch.autograd.grad(x.square().sum(), logits, retain_graph=True)[0]

    expected = gradient()
    with use_backend("compiled"):
        torch.testing.assert_close(gradient(), expected, rtol=0, atol=0)
    assert called == [1]
    with use_backend("reference"):
        torch.testing.assert_close(gradient(), expected)
    assert called == [1]


def test_names_of_nodes():
    given = weights((3, 4)).requires_grad_()
    names = [make(given, temperature(torch.float32)).rsample().grad_fn.name() for make in PATHWISE.values()]
    assert (
        names
        == ["DirichletDrawBackward"] + ["RelaxedCategoricalDrawBackward"] * 3 + ["OneHotCategoricalDrawBackward"] * 2
    )


def test_compiled_autograd_tells_kinds_apart(by_python):
    logits = weights((3, 4)).requires_grad_()

    def gradients():
        found = []
        for name in ("RelaxedOneHotCategorical", "ExpRelaxedCategorical", "Straight through", "Dirichlet"):
            torch.manual_seed(4)
            x = PATHWISE[name](logits, temperature(torch.float32, False)).rsample()
            found += torch.autograd.grad(x.square().sum(), logits)
        return found

    torch._dynamo.reset()
    with torch._dynamo.compiled_autograd._enable(lambda module: module):
        result = gradients()
    torch._dynamo.reset()
    torch.testing.assert_close(result, by_python(gradients), rtol=0, atol=0)


def test_a_temperature_of_another_dtype_is_pythons(taken):
    t = torch.tensor([TEMPERATURE], dtype=torch.float64)
    d = dist.RelaxedOneHotCategorical(t, logits=weights((3, 4)).requires_grad_())
    assert d.rsample().dtype == torch.float32
    torch.manual_seed(1)
    one = dist.RelaxedOneHotCategorical(t.float(), logits=weights((3, 4))).rsample()
    torch.manual_seed(1)
    assert torch.equal(d.rsample(), one)


def test_one_hot_draws_of_one_row(taken, by_python):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        d = dist.OneHotCategorical(weights((4,), dtype))

        def drawn(d=d):
            torch.manual_seed(9)
            return d.sample((7,))

        taken.clear()
        sample = drawn()
        assert taken == [dtype != torch.bfloat16]
        assert torch.equal(sample, by_python(drawn))
        assert torch.equal(sample.sum(-1), torch.ones(7, dtype=dtype))


def test_long_counts(taken, by_python):
    d = dist.Multinomial(10_000, weights((3, 7)))

    def drawn():
        torch.manual_seed(9)
        return d.sample((2,))

    assert torch.equal(drawn(), by_python(drawn))
    assert taken == [True]
    assert torch.equal(drawn().sum(-1), torch.full((2, 3), 10_000.0))


def test_nan_stays():
    given = torch.tensor([[0.5, float("nan")], [0.3, 0.4]])
    x = dist.Dirichlet(given, validate_args=False).sample()
    assert x[0].isnan().all()
    assert x[1].isfinite().all()


DRAWS_IN_TURN = """
import torch
import rsample.distributions as dist
from rsample.kernels.draws import native_core
from rsample.kernels.engines.cpu import rows as compiled

native_core.wait()
logits = torch.zeros(3, 4)
draws = [
    dist.Categorical(logits=logits).sample,
    dist.Multinomial(5, logits=logits).sample,
    dist.RelaxedOneHotCategorical(torch.ones(()), logits=logits.requires_grad_()).sample,
]
for draw in draws:
    for _ in range(2):
        draw()
    print(*(name for name, _ in compiled._functions), compiled._gradients.cache_info().currsize)
"""


def test_a_draw_waits_for_its_own_function():
    done = subprocess.run([sys.executable, "-c", DRAWS_IN_TURN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["race 0", "race inversion 0", "race inversion relaxed_scores 0"]
