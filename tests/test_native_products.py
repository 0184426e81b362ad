"""Matrix products by the core of small draws: what it takes over, what it leaves to Python, what holds for both."""

import pytest
import torch
from torch.autograd import forward_ad

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.draws import native_core
from rsample.kernels.draws.matrices.draw import draw_product
from rsample.kernels.engines.matrix_product import KINDS, LOW_RANK_MULTIVARIATE_NORMAL, MULTIVARIATE_NORMAL_WITH_NORM

KEY = torch.tensor([20261130, 5], dtype=torch.uint64)


@pytest.fixture(autouse=True)
def taken(monkeypatch):
    """What the core has answered: True for each draw that it made."""
    if native_core.CORE is None:
        pytest.skip("there is no core: no compiler, or no headers of Python")
    answers = []

    class Counted:
        def __getattr__(self, name):
            function = getattr(core, name)
            if name != "draw_product":
                return function

            def draw(*args):
                drawn = function(*args)
                if drawn is not True:  # then it has to be told something first
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


def seeded(function):
    torch.manual_seed(7)
    return function()


def parameters(kind, n, of_factor=(), of_others=(), dtype=torch.float32, rank=2):
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64).add(0.5).to(dtype).requires_grad_()

    made = {"loc": random(*of_others, n), "factor": random(*of_factor, n, n if kind.triangular else rank)}
    return made if kind.triangular else {**made, "scale": random(*of_others, n)}


def drawn(kind, params, shape):
    outputs = draw_product(kind, params, shape, differentiable=True)
    total = sum((x * torch.linspace(1, 2, x.numel(), dtype=x.dtype).reshape(x.shape)).sum() for x in outputs)
    return [x.detach() for x in outputs], torch.autograd.grad(total, list(params.values()))


LAYOUTS = [
    # The batch of the sample, of the factor and of the others.
    ((), (), ()),
    ((7,), (), ()),
    ((7,), (), (7,)),
    ((40,), (40,), (40,)),
    ((4, 3), (3,), (3,)),
    ((2, 3, 5), (3, 1), (5,)),
    ((2, 3, 5), (3, 1), (2, 1, 1)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(("batch", "of_factor", "of_others"), LAYOUTS, ids=str)
def test_samples_and_gradients_are_those_of_python(kind, dtype, batch, of_factor, of_others, taken, by_python):
    for n in (1, 3, 33):
        params = parameters(kind, n, of_factor, of_others, dtype)
        taken.clear()
        sample, grads = seeded(lambda params=params, n=n: drawn(kind, params, (*batch, n)))
        expected, expected_grads = by_python(
            lambda params=params, n=n: seeded(lambda: drawn(kind, params, (*batch, n)))
        )
        assert taken == [True]
        torch.testing.assert_close(sample, expected, rtol=0, atol=0)
        for p, grad, other in zip(params.values(), grads, expected_grads, strict=True):
            # Of what repeats along rows, Python adds up in the dtype, and in another order; the factor's is one loop.
            repeats = p.shape != (*batch, n) and p is not params["factor"]
            assert grad.shape == other.shape
            tolerance = 16 * torch.finfo(dtype).eps * other.abs().max().item() if repeats else 0.0
            torch.testing.assert_close(grad, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_parameters_and_gradients_of_any_layout(kind, taken, by_python):
    params = parameters(kind, 6, (4,), (4,))
    loc, factor = params["loc"].detach(), params["factor"].detach()
    for other in (factor.mT.contiguous().mT, factor[:1].expand(4, -1, -1)):
        given = params | {"factor": other.requires_grad_(), "loc": loc.T.contiguous().T.requires_grad_()}
        weights = torch.arange(24.0).reshape(6, 4).T

        def results(given=given, weights=weights):
            x = draw_product(kind, given, (4, 6), differentiable=True)[0]
            return x.detach(), *torch.autograd.grad(x, list(given.values()), weights)

        taken.clear()
        result = seeded(results)
        assert taken == [True]
        torch.testing.assert_close(result, by_python(lambda results=results: seeded(results)), rtol=1e-6, atol=0)


def test_gradients_of_some_parameters():
    params = parameters(LOW_RANK_MULTIVARIATE_NORMAL, 4, (), (5,))

    def gradients(names):
        x = seeded(lambda: draw_product(LOW_RANK_MULTIVARIATE_NORMAL, params, (5, 4), differentiable=True)[0])
        return torch.autograd.grad(x.square().sum(), [params[name] for name in names])

    everything = dict(zip(params, gradients(params), strict=True))
    for names in (["loc"], ["factor"], ["scale"], ["scale", "loc"]):
        torch.testing.assert_close(gradients(names), tuple(everything[name] for name in names), rtol=0, atol=0)


def test_the_norm_is_of_the_graph_and_constant(taken, by_python):
    params = parameters(MULTIVARIATE_NORMAL_WITH_NORM, 3)

    def results():
        x, norm = draw_product(MULTIVARIATE_NORMAL_WITH_NORM, params, (5, 3), differentiable=True)
        return norm.detach(), norm.requires_grad, torch.autograd.grad(norm.sum() + 0 * x.sum(), list(params.values()))

    def alone():
        _, norm = draw_product(MULTIVARIATE_NORMAL_WITH_NORM, params, (5, 3), differentiable=True)
        return torch.autograd.grad(norm.sum(), list(params.values()))

    for function in (results, alone):
        taken.clear()
        result = seeded(function)
        assert taken == [True]
        torch.testing.assert_close(result, by_python(lambda function=function: seeded(function)), rtol=0, atol=0)


def test_what_is_watched_is_left_to_python(taken):
    loc, factor = torch.zeros(3), torch.eye(3)
    d = dist.MultivariateNormal(loc, scale_tril=factor)

    def left(function):
        taken.clear()
        result = function()
        assert True not in taken
        return result

    with use_backend("reference"):
        left(d.sample)
    with torch.device("cpu"):
        left(d.sample)
    left(lambda: d.sample(key=KEY))
    left(lambda: d.sample(generator=torch.Generator().manual_seed(1)))
    unchecked = {"scale_tril": factor, "validate_args": False}
    mapped = torch.func.vmap(lambda x: dist.MultivariateNormal(x, **unchecked).sample(), randomness="different")
    left(lambda: mapped(torch.zeros(2, 3)))
    left(lambda: torch.func.grad(lambda x: dist.MultivariateNormal(x, **unchecked).rsample().sum())(loc))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(loc, torch.ones(3))
        x = left(dist.MultivariateNormal(dual, **unchecked).rsample)
        assert torch.equal(forward_ad.unpack_dual(x).tangent, torch.ones(3))
    left(dist.MultivariateNormal(loc.bfloat16(), scale_tril=factor.bfloat16()).sample)
    left(dist.MultivariateNormal(loc, scale_tril=factor.double(), validate_args=False).sample)
    left(lambda: d.sample((0,)))
    left(lambda: d.sample((2**20,)))
    # Neither rows nor columns lie side by side.
    left(dist.MultivariateNormal(loc, scale_tril=torch.eye(6)[::2, ::2]).sample)
    # A matrix library multiplies.
    left(lambda: dist.MultivariateNormal(torch.zeros(32), scale_tril=torch.eye(32).repeat(2, 1, 1)).sample((40,)))
    compiled = torch.compile(
        lambda x: dist.MultivariateNormal(x, **unchecked).rsample(), fullgraph=True, backend="eager"
    )
    left(lambda: compiled(loc))
    taken.clear()
    d.sample()
    assert taken == [True]


def test_derivatives_beyond_the_first_one(taken, by_python):
    params = {name: p.detach().double().requires_grad_() for name, p in parameters(KINDS[0], 3).items()}

    def results():
        x = draw_product(KINDS[0], params, (4, 3), differentiable=True)[0]
        first = torch.autograd.grad((x**3).sum(), list(params.values()), create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), list(params.values()))
        batched = torch.autograd.grad(
            draw_product(KINDS[0], params, (3,), differentiable=True)[0],
            list(params.values()),
            torch.eye(3, dtype=torch.float64),
            is_grads_batched=True,
        )
        return *first, *second, *batched

    result = seeded(results)
    assert taken == [True, True]
    torch.testing.assert_close(result, by_python(lambda: seeded(results)))


def test_backward_in_a_block_of_use_backend_goes_its_way(taken, monkeypatch):
    from rsample.kernels.engines.eager import product as reference

    factor = torch.eye(3, requires_grad=True)
    called = []
    run = reference.backward
    monkeypatch.setattr(reference, "backward", lambda *args: called.append(1) or run(*args))
    x = dist.MultivariateNormal(torch.zeros(3), scale_tril=factor).rsample((5,))
    assert taken == [True]
    x.sum().backward(retain_graph=True)
    assert not called
    ours = factor.grad.clone()
    with use_backend("reference"):
        x.sum().backward()
    assert called
    torch.testing.assert_close(factor.grad, 2 * ours)


def test_compiled_autograd(by_python):
    params = parameters(LOW_RANK_MULTIVARIATE_NORMAL, 3)

    def gradients():
        x = seeded(lambda: draw_product(LOW_RANK_MULTIVARIATE_NORMAL, params, (5, 3), differentiable=True)[0])
        with torch._dynamo.compiled_autograd._enable(lambda module: module):
            return torch.autograd.grad(x.sum(), list(params.values()))

    torch.testing.assert_close(gradients(), by_python(gradients), rtol=1e-6, atol=0)


def test_nothing_is_kept(taken):
    kept = []
    params = parameters(LOW_RANK_MULTIVARIATE_NORMAL, 3)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        draw_product(LOW_RANK_MULTIVARIATE_NORMAL, params, (5, 3), differentiable=True)
    assert taken == [True]
    assert not kept


def test_what_has_been_learned_is_bounded(taken, monkeypatch):
    d = dist.MultivariateNormal(torch.zeros(2), scale_tril=torch.eye(2))
    x = seeded(d.sample)
    for n in range(600):  # more than a kind's plans
        d.sample((n + 1,))
    assert all(taken)
    assert torch.equal(seeded(d.sample), x)
