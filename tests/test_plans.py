"""Draws by plans and by the core: samples and gradients are those of the long way, which a kind's first draw goes."""

import pytest
import torch
from every_class import EVERY_CLASS

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.draws import native_core, plans
from rsample.kernels.draws.plans import Plans

pytestmark = pytest.mark.usefixtures("short_way")

# Enough for the compiled loops, and few.
SIZES = [5, 1100]


def parameters(n, dtype=torch.float32, requires_grad=False):
    def param(low, high, *event):
        shape = (n, *event)
        values = torch.linspace(low, high, n * max(1, torch.Size(event).numel()), dtype=dtype).reshape(shape)
        return values.requires_grad_(requires_grad)

    return param


def drawn(d, method):
    torch.default_generator.manual_seed(20261130)  # without the stack that torch.manual_seed keeps for other devices
    outputs = getattr(d, method)()
    return outputs if isinstance(outputs, tuple) else (outputs,)


@pytest.fixture
def without_plans(monkeypatch):
    def run(function):
        with monkeypatch.context() as patch:
            patch.setattr(native_core, "CORE", None)
            patch.setattr(Plans, "find", lambda *args: None)
            return function()

    return run


# torch factorises no narrow matrices.
CASES = [(name, dtype) for name in EVERY_CLASS for dtype in (torch.float32, torch.float64, torch.bfloat16)]
CASES = [case for case in CASES if case not in {(n, torch.bfloat16) for n in ("LowRankMultivariateNormal", "Wishart")}]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_samples_are_those_of_the_long_way(name, n, dtype, without_plans):
    d = EVERY_CLASS[name](parameters(n, dtype))
    for method in ("sample", "sample_with_log_prob"):
        expected = without_plans(lambda method=method: drawn(d, method))
        for _ in range(4):
            torch.testing.assert_close(drawn(d, method), expected, rtol=0, atol=0)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", [name for name, make in EVERY_CLASS.items() if make(parameters(2)).has_rsample])
def test_gradients_are_those_of_the_long_way(name, n, without_plans):
    leaves = []

    def param(low, high, *event):
        leaves.append(parameters(n, requires_grad=True)(low, high, *event))
        return leaves[-1]

    d = EVERY_CLASS[name](param)

    def gradients(method):
        outputs = drawn(d, method)
        total = sum((x * torch.linspace(0.5, 1.5, x.numel()).reshape(x.shape)).sum() for x in outputs)
        return torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True)

    for method in ("rsample", "rsample_with_log_prob"):
        expected = without_plans(lambda method=method: gradients(method))
        for _ in range(4):
            torch.testing.assert_close(gradients(method), expected, rtol=0, atol=0)


def test_derivatives_beyond_the_first_one():
    loc, scale = (torch.full((3,), x, dtype=torch.float64, requires_grad=True) for x in (0.5, 2.0))
    d = dist.LogNormal(loc, scale)
    for _ in range(4):
        torch.manual_seed(1)
        x = d.rsample()
        (first,) = torch.autograd.grad(x.sum(), loc, create_graph=True)
        # d exp(y) / d loc = exp(y), and so on.
        torch.testing.assert_close(first, x)
        torch.testing.assert_close(torch.autograd.grad(first.sum(), loc)[0], x)


def test_a_kind_is_what_the_parameters_are_now():
    loc, scale = torch.zeros(6), torch.ones(6)
    d = dist.Normal(loc, scale, validate_args=False)
    key = torch.tensor([3, 4], dtype=torch.uint64)
    for _ in range(4):
        d.sample()
    loc.data = torch.arange(12.0).reshape(6, 2)[:, 0]  # other strides
    scale.zero_()
    assert torch.equal(d.sample(), torch.arange(0.0, 12.0, 2.0))
    loc.data = torch.zeros(6, dtype=torch.float64)
    scale.data = torch.ones(6, dtype=torch.float64)
    assert d.sample().dtype == torch.float64
    with use_backend("reference"):
        expected = d.sample(key=key)
    for backend in ("compiled", "reference") * 3:
        with use_backend(backend):
            torch.testing.assert_close(d.sample(key=key), expected)


def test_what_a_loop_cannot_read_goes_the_long_way():
    for n in SIZES:
        memory = torch.arange(n + 1.0)
        misaligned = memory[1:]
        assert misaligned.data_ptr() % 16
        lazily = torch.complex(torch.zeros(n), torch.arange(float(n))).conj().imag
        assert lazily.is_neg()
        zeros = torch.zeros(n)
        for _ in range(4):
            assert torch.equal(dist.Normal(misaligned, zeros, validate_args=False).sample(), misaligned)
            assert torch.equal(dist.Normal(lazily, zeros, validate_args=False).sample(), lazily)


def test_the_plans_of_a_program_that_draws_another_shape_each_time_are_bounded(monkeypatch):
    monkeypatch.setattr(native_core, "CORE", None)
    monkeypatch.setattr(plans, "MOST", 8)
    sampler = dist.Logistic._samplers[0]
    d = dist.Logistic(torch.zeros(()), torch.ones(()))
    for n in range(30):
        for _ in range(3):
            d.sample((n + 1,))
        assert len(sampler.operators.plans._plans) <= 8


def test_inside_of_transforms_and_modes_nothing_is_hidden():
    loc = torch.zeros(4)
    d = dist.Normal(loc, torch.ones(4))
    for _ in range(4):
        d.rsample()
    different = torch.func.vmap(lambda x: dist.Normal(x, 1.0).rsample(), randomness="different")
    x = different(torch.zeros(3, 4))
    assert x.shape == (3, 4)
    assert not torch.equal(x[0], x[1])
    key = torch.tensor([5, 6], dtype=torch.uint64)
    primal, tangent = torch.func.jvp(lambda m: dist.Normal(m, 1.0).rsample(key=key), (loc,), (torch.ones(4),))
    torch.testing.assert_close(tangent, torch.ones_like(primal))


def test_on_a_gpu_a_kind_is_launched_without_triton(on_a_stub_gpu):
    printed = on_a_stub_gpu(
        """
        import triton
        import rsample.distributions as dist
        from rsample.kernels.engines.triton import direct_launch

        x = torch.zeros(1024, device="cuda", requires_grad=True)
        normal, gamma = dist.Normal(x, 1.0), dist.Gamma(torch.exp(x), 1.0)
        categorical = dist.Categorical(logits=torch.zeros(8, 16, device="cuda"))
        product = dist.MultivariateNormal(torch.zeros(4, 3, device="cuda"), scale_tril=torch.eye(3, device="cuda"))
        key = torch.tensor([1, 2], dtype=torch.uint64)
        draws = [normal.sample, normal.rsample, gamma.sample, categorical.sample, product.sample]
        draws += [lambda: normal.rsample(key=key), lambda: normal.rsample(key=key.cuda()), normal.sample_with_log_prob]
        draws += [lambda: torch.autograd.grad(normal.rsample().sum(), x)]
        for draw in draws:
            for _ in range(3):
                draw()
        entered = []
        run = triton.runtime.JITFunction.run
        triton.runtime.JITFunction.run = lambda *args, **options: entered.append(1) or run(*args, **options)
        for draw in draws:
            print(len(entered), sum(n for name, n in stub.counts(draw).items() if "launch" in name.lower()) > 0)
        hook = lambda metadata: entered.append("hook")
        triton.knobs.runtime.launch_enter_hook.add(hook)
        entered.clear()
        normal.sample()
        print(entered)
        """
    )
    assert printed[:-1] == ["0 True"] * 9
    assert printed[-1] == "[1, 'hook']"
