"""The core of small draws: what it takes over, what it leaves to Python, and what holds for both.

test_plans.py compares its samples and gradients with Python's.
"""

import math
import os
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest
import torch
from torch.autograd import forward_ad

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.draws import autograd, native_core
from rsample.kernels.engines.eager import elementwise as reference

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
            if name != "draw":
                return function

            def draw(*args):
                drawn = function(*args)
                if drawn is not False:
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
    torch.default_generator.manual_seed(7)
    return function()


SHAPES = [
    ((), ()),
    ((3,), ()),
    ((4, 3), (3,)),
    ((3,), (1,)),
    ((1,), (1,)),
    ((2, 1), (1,)),
    ((4, 3), ()),
    ((1, 3), (3,)),
]


@pytest.mark.parametrize("sample_shape", [(), (5,), (2, 1, 3)])
@pytest.mark.parametrize(("loc_shape", "scale_shape"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["Normal", "Laplace", "LogNormal", "Uniform"])
def test_layouts(name, dtype, loc_shape, scale_shape, sample_shape, taken, by_python):
    loc = torch.randn(loc_shape, dtype=dtype).sub_(3).requires_grad_()
    scale = torch.rand(scale_shape, dtype=dtype).add_(1).requires_grad_()
    sampler = getattr(dist, name)._samplers[0]
    shape = torch.Size(sample_shape) + torch.broadcast_shapes(loc_shape, scale_shape)

    def results():
        x = sampler([loc, scale], shape, differentiable=True)
        weights = torch.linspace(1, 2, x.numel(), dtype=dtype).reshape(shape)
        return x.detach(), *torch.autograd.grad((x * weights).sum(), (loc, scale))

    sample, *grads = seeded(results)
    expected, *expected_grads = by_python(lambda: seeded(results))
    assert taken == [True]
    assert sample.shape == shape
    assert torch.equal(sample, expected)
    for grad, other in zip(grads, expected_grads, strict=True):
        # Of a parameter that repeats, Python adds up in the dtype, and in another order.
        assert grad.shape == other.shape
        torch.testing.assert_close(grad, other, rtol=1e-5 if dtype == torch.float32 else 1e-13, atol=0)


def test_what_is_watched_is_left_to_python(taken):
    loc = torch.zeros(3)
    d = dist.Normal(loc, 1.0)

    def left(function):
        taken.clear()
        result = function()
        assert True not in taken
        return result

    with use_backend("reference"):
        left(d.sample)
    with torch.device("cpu"):
        left(d.sample)

    class Seen(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    with Seen():
        left(d.sample)
    left(lambda: d.sample(key=KEY))
    left(lambda: d.sample(generator=torch.Generator().manual_seed(1)))
    left(lambda: torch.func.vmap(lambda x: dist.Normal(x, 1.0).sample(), randomness="different")(torch.zeros(2, 3)))
    left(lambda: torch.func.grad(lambda x: dist.Normal(x, 1.0).rsample().sum())(loc))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(loc, torch.ones(3))
        drawn = left(dist.Normal(dual, 1.0, validate_args=False).rsample)
        assert torch.equal(forward_ad.unpack_dual(drawn).tangent, torch.ones(3))
    left(dist.Normal(loc.to(torch.bfloat16), 1.0).sample)
    left(dist.Normal(torch.zeros(2**20), 1.0).sample)
    left(dist.Normal(torch.zeros(0), 1.0).sample)
    left(dist.Normal(torch.zeros(3, 2**15).T, 1.0).sample)
    compiled = torch.compile(
        lambda x: dist.Normal(x, 1.0, validate_args=False).rsample(), fullgraph=True, backend="eager"
    )
    left(lambda: compiled(loc))
    taken.clear()
    d.sample()
    assert taken == [True]


def test_a_subclass_of_tensors_is_left_to_python(taken):
    class Own(torch.Tensor):
        pass

    loc = torch.zeros(3).as_subclass(Own)
    dist.Normal(loc, torch.ones(3), validate_args=False).sample()
    assert True not in taken


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_without_a_graph(guard, taken):
    loc = torch.zeros(3, requires_grad=True)
    with guard():
        x = dist.Normal(loc, 1.0).rsample()
        y = dist.Normal(torch.zeros(3), 1.0).sample()
    assert taken == [True, True]
    assert not x.requires_grad
    assert x.is_inference() == y.is_inference() == (guard is torch.inference_mode)
    taken.clear()
    assert not dist.Normal(loc, 1.0).sample().requires_grad
    assert taken == [True]


@pytest.mark.parametrize("name", ["Normal", "LogNormal"])
def test_second_derivatives(name, taken, by_python):
    loc = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([1.2, 0.7], dtype=torch.float64, requires_grad=True)

    def results():
        x = getattr(dist, name)(loc, scale).rsample()
        first = torch.autograd.grad((x**3).sum(), (loc, scale), create_graph=True)
        return *first, *torch.autograd.grad(sum((g**2).sum() for g in first), (loc, scale))

    result = seeded(results)
    assert taken == [True]
    torch.testing.assert_close(result, by_python(lambda: seeded(results)), rtol=0, atol=0)


def test_gradients_of_any_layout(by_python):
    loc, scale = (torch.full((4, 3), x, requires_grad=True) for x in (0.5, 2.0))
    weights = torch.arange(12.0).reshape(3, 4).T
    given = [weights, torch.ones(()).expand(4, 3), torch.arange(3.0).expand(4, 3), weights.conj()]
    for grad in given:

        def gradients(grad=grad):
            return seeded(lambda: torch.autograd.grad(dist.Gumbel(loc, scale).rsample(), (loc, scale), grad))

        for a, b in zip(gradients(), by_python(gradients), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_parameters_of_any_layout(taken, by_python):
    memory = torch.linspace(-1, 1, 24)
    for loc in (memory[:12].reshape(4, 3).T, memory.reshape(3, 8)[:, ::2], memory[::8].unsqueeze(1).expand(3, 4)):
        loc = loc.detach().requires_grad_()

        def results(loc=loc):
            x = dist.LogNormal(loc, 1.0).rsample((2,))
            return x.detach(), *torch.autograd.grad(x, loc, torch.arange(24.0).reshape(2, 3, 4))

        taken.clear()
        result = seeded(results)
        assert taken == [True]
        for a, b in zip(result, by_python(lambda: seeded(results)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["probs", "logits"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("weights", "sample_shape"),
    [((4,), ()), ((3, 4), ()), ((4,), (7,)), ((3, 4), (5, 2)), ((2, 3, 5), (4,)), ((3, 4), (1,)), ((1, 4), (1,))],
)
def test_categories(weights, sample_shape, dtype, name, by_python):
    values = torch.linspace(0.1, 2, torch.Size(weights).numel(), dtype=dtype).reshape(weights)
    d = dist.Categorical(**{name: values})
    asked = []
    core = native_core.CORE

    class Counted:
        def __getattr__(self, attribute):
            function = getattr(core, attribute)
            return lambda *args: asked.append((attribute, function(*args))) or asked[-1][1]

    for _ in range(2):
        native_core.CORE = Counted()
        try:
            drawn = seeded(lambda: d.sample(sample_shape))
        finally:
            native_core.CORE = core
        assert drawn.shape == torch.Size(sample_shape) + d.batch_shape
        assert torch.equal(drawn, by_python(lambda: seeded(lambda: d.sample(sample_shape))))
    answer = [answer for attribute, answer in asked if attribute == "race"][-1]
    assert (answer is None) == (sample_shape == (1,))  # as many draws as rows, of another shape


def test_batched_gradients(by_python):
    loc = torch.zeros(3, requires_grad=True)
    grads = torch.eye(3)

    def jacobian():
        x = seeded(dist.LogNormal(loc, 1.0).rsample)
        return torch.autograd.grad(x, loc, grads, is_grads_batched=True)[0]

    torch.testing.assert_close(jacobian(), by_python(jacobian), rtol=1e-6, atol=0)


def test_the_graph_is_an_ordinary_one(taken):
    loc = torch.zeros(3, requires_grad=True)
    x = dist.LogNormal(loc, 1.0).rsample()
    assert taken == [True]
    seen = []
    x.register_hook(lambda grad: seen.append(grad) or 2 * grad)
    x.sum().backward()
    torch.testing.assert_close(loc.grad, 2 * x.detach())
    assert torch.equal(seen[0], torch.ones(3))
    x = dist.LogNormal(loc, 1.0).rsample()
    with torch.no_grad():
        loc.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        x.sum().backward()


def test_hooks_of_the_node(taken):
    loc = torch.zeros(3, requires_grad=True)
    x = dist.LogNormal(loc, 1.0).rsample()
    assert taken == [True]
    seen = []
    x.retain_grad()
    x.grad_fn.register_prehook(lambda grads: tuple(2 * g for g in grads))
    x.grad_fn.register_hook(lambda grads, given: seen.append((grads, given)))
    x.sum().backward()
    torch.testing.assert_close(loc.grad, 2 * x.detach())
    ((grads, given),) = seen
    assert torch.equal(grads[0], loc.grad)
    assert torch.equal(given[0], torch.full((3,), 2.0))
    assert torch.equal(x.grad, torch.ones(3))


def test_anomaly_mode_names_the_draw(taken):
    loc = torch.zeros(3, requires_grad=True)
    with torch.autograd.set_detect_anomaly(True):
        x = dist.LogNormal(loc, 1.0).rsample()
    assert taken == [True]
    assert x.grad_fn.name() == "LogNormalDrawBackward"
    error = pytest.raises(RuntimeError, match="'LogNormalDrawBackward' returned nan values in its 0th output")
    traceback = pytest.warns(UserWarning, match="test_anomaly_mode_names_the_draw")  # of the draw
    with error, traceback, torch.autograd.set_detect_anomaly(True):
        x.backward(torch.full((3,), math.nan))


@pytest.mark.parametrize("name", ["Normal", "LogNormal"])
def test_a_graph_is_for_one_backward_pass(name, taken):
    loc, scale = (torch.ones(3, requires_grad=True) for _ in range(2))
    x = getattr(dist, name)(loc, scale).rsample()
    assert taken == [True]
    x.sum().backward(retain_graph=True)
    first = scale.grad.clone()
    x.sum().backward()
    assert torch.equal(scale.grad, 2 * first)
    with pytest.raises(RuntimeError, match="second time"):
        x.sum().backward()


@pytest.mark.parametrize("retain", [False, True])
def test_parameters_are_released_with_the_graph(retain, taken):
    class Packed:
        def __init__(self, tensor):
            self.tensor = tensor

    packed, unpacked = weakref.WeakSet(), []

    def pack(tensor):
        held = Packed(tensor)
        packed.add(held)
        return held

    loc, scale = (torch.ones(3, requires_grad=True) for _ in range(2))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: unpacked.append(held.tensor) or held.tensor):
        x = dist.LogNormal(loc, scale).rsample()
    assert taken == [True]
    assert len(packed) == 2
    x.backward(torch.ones(3), retain_graph=retain)
    assert len(unpacked) == 2
    assert torch.equal(loc.grad, x.detach())
    unpacked.clear()
    assert len(packed) == (2 if retain else 0)


@pytest.mark.parametrize("outputs", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("method", ["rsample_with_log_prob", "sample_with_log_prob"])
def test_draws_of_two_outputs(method, outputs, taken, by_python):
    loc, scale = (torch.full((3,), x, requires_grad=True) for x in (0.5, 2.0))

    def results():
        drawn = seeded(getattr(dist.LogNormal(loc, scale), method))
        total = sum(drawn[i].square().sum() for i in outputs)
        grads = torch.autograd.grad(total, (loc, scale)) if total.requires_grad else ()
        return *(x.detach() for x in drawn), *grads, *(torch.tensor(x.requires_grad) for x in drawn)

    result = results()
    assert taken == [True]
    torch.testing.assert_close(result, by_python(results), rtol=0, atol=0)


def test_samples_that_are_overwritten_and_viewed(taken, by_python):
    loc, scale = (torch.full((3, 2), x, requires_grad=True) for x in (0.5, 2.0))

    def results():
        x = seeded(dist.LogNormal(loc, scale).rsample)
        row = x[1]
        x.mul_(3.0)
        row.add_(1.0)
        x[2] = 7.0
        x.t().div_(2.0)
        return x.detach(), *torch.autograd.grad((x * row).sum(), (loc, scale))

    result = results()
    assert taken == [True]
    torch.testing.assert_close(result, by_python(results), rtol=0, atol=0)


def test_gradients_that_are_asked_for_alone(taken, by_python):
    loc, scale = (torch.full((3,), x, requires_grad=True) for x in (0.5, 2.0))
    for wanted in ((loc,), (scale,), (scale, loc)):

        def gradients(wanted=wanted):
            x = seeded(dist.LogNormal(loc, scale).rsample)
            return torch.autograd.grad(x.sum(), wanted)

        torch.testing.assert_close(gradients(), by_python(gradients), rtol=0, atol=0)
    assert taken == [True] * 3


def test_threads_go_back_through_one_graph(taken):
    loc = torch.zeros(100, requires_grad=True)
    x = dist.LogNormal(loc, 1.0).rsample()
    assert taken == [True]
    found = []

    def backward():
        for _ in range(50):
            found.append(torch.autograd.grad(x, loc, torch.ones(100), retain_graph=True)[0])

    threads = [threading.Thread(target=backward) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200
    assert all(torch.equal(grad, x.detach()) for grad in found)


@pytest.mark.skipif(not hasattr(torch.autograd.graph, "node_creation_hook"), reason="torch has no such hooks")
def test_hooks_of_the_creation_of_nodes(taken):
    loc = torch.zeros(3, requires_grad=True)
    made = []
    with torch.autograd.graph.node_creation_hook(lambda node: made.append((node.name(), len(node.next_functions)))):
        dist.LogNormal(loc, 1.0).rsample()
    assert taken == [True]
    assert ("LogNormalDrawBackward", 2) in made


def test_no_tensor_is_kept_of_a_linear_draw(taken):
    loc, scale = (torch.ones(1000, requires_grad=True) for _ in range(2))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        x = dist.Normal(loc, scale).rsample()
    assert taken == [True]
    assert not kept
    x.sum().backward()
    torch.testing.assert_close(scale.grad, x.detach() - 1, atol=1e-6, rtol=0)


def test_backward_in_a_block_of_use_backend_goes_its_way(taken, monkeypatch):
    scale = torch.ones(3, requires_grad=True)
    called = []
    run = reference.backward
    monkeypatch.setattr(reference, "backward", lambda *args: called.append(1) or run(*args))
    x = dist.Normal(0.0, scale).rsample()
    assert taken == [True]
    x.sum().backward(retain_graph=True)
    assert not called
    with use_backend("reference"):
        x.sum().backward()
    assert called
    torch.testing.assert_close(scale.grad, 2 * x.detach())


def test_errors_of_backward_arrive(taken, monkeypatch):
    loc = torch.zeros(3, requires_grad=True)
    x = dist.LogNormal(loc, 1.0).rsample()

    def backward():
        (grad,) = torch.autograd.grad(x, loc, torch.ones(3), create_graph=True)
        return grad

    assert backward().requires_grad
    x = dist.LogNormal(loc, 1.0).rsample()
    monkeypatch.setattr(autograd.PathwiseDraw, "backward", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        backward()


@pytest.fixture
def compiled_autograd():
    """Reverse mode by graphs that torch makes of it; the graphs."""
    torch._dynamo.reset()
    graphs = []
    with torch._dynamo.compiled_autograd._enable(lambda module: graphs.append(module) or module):
        yield graphs
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["Normal", "LogNormal"])
def test_compiled_autograd(name, compiled_autograd, taken, by_python):
    loc, scale = (torch.full((3,), x, requires_grad=True) for x in (0.5, 2.0))

    def gradients(seed, wanted=(loc, scale), create_graph=False):
        torch.manual_seed(seed)
        x = getattr(dist, name)(loc, scale).rsample()
        return torch.autograd.grad(x.square().sum(), wanted)

    results = [gradients(1), gradients(2), gradients(1, (scale,))]
    assert taken == [True] * 3
    assert len(compiled_autograd) == 2  # another key is another input of the same graph
    expected = by_python(lambda: [gradients(1), gradients(2), gradients(1, (scale,))])
    torch.testing.assert_close(results, expected, rtol=0, atol=0)
    x = getattr(dist, name)(loc, scale).rsample()
    x.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        x.sum().backward()


def test_compiled_autograd_of_packed_parameters(compiled_autograd, taken):
    loc = torch.zeros(3, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(force=True).copy(), torch.from_numpy):
        x = dist.LogNormal(loc, 1.0).rsample()
    assert taken == [True]
    x.sum().backward()
    torch.testing.assert_close(loc.grad, x.detach())


def test_filled_memory(taken):
    # What torch offers to find reads of memory that nothing has written.
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        x = dist.Normal(torch.zeros(1001), 1.0).sample()
    finally:
        torch.use_deterministic_algorithms(False)
    assert taken == [True]
    assert torch.isfinite(x).all()


def test_threads_draw_at_once():
    d = dist.Gamma(torch.full((5000,), 2.0), 1.0)
    drawn = []

    def draw():
        for _ in range(20):
            drawn.append(d.sample())

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({x[0].item() for x in drawn}) == 80
    assert all(math.isclose(x.mean().item(), 2.0, abs_tol=0.2) for x in drawn)


def test_on_a_gpu_kernels_get_the_arguments_that_python_gives_them(on_a_stub_gpu):
    printed = on_a_stub_gpu(
        """
        import ctypes
        import rsample.distributions as dist
        from rsample.kernels.engines.triton import direct_launch
        from rsample.kernels.draws import native_core

        SIZES = {"O": 8, "i": 4, "I": 4, "l": 8, "K": 8}
        seen, letters_of = [], []

        class Launcher:
            def _launch_kernel(self, function, x, y, z, warps, shared, letters, arguments, stream):
                letters_of.append(letters)
                given = [0 if a is None else a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments]
                given = [a % 2 ** (8 * SIZES[letter]) for a, letter in zip(given, letters, strict=True)]
                seen.append((function, (x, y, z), 32 * warps, shared, given, stream))

        direct_launch._LAUNCHER = Launcher()

        by_core = []

        def launch(function, x, y, z, threads, _, __, shared, stream, arguments, ___):
            letters = letters_of[len(seen)] if len(seen) < len(letters_of) else ""
            given = [int.from_bytes(ctypes.string_at(arguments[i], SIZES[letter]), "little")
                     for i, letter in enumerate(letters)]
            seen.append((function, (x, y, z), threads, shared, given, stream or 0))
            by_core.append(function)
            return 0

        kinds = [ctypes.c_uint] * 7
        recorder = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, *kinds, ctypes.c_void_p,
                                    ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)(launch)
        native_core.driver = lambda driver=native_core.driver: (
            ctypes.cast(recorder, ctypes.c_void_p).value, driver()[1])

        def param(value, *shape, dtype=torch.float32):
            return torch.full(shape, value, device="cuda", dtype=dtype, requires_grad=True)

        draws = []
        for dtype in (torch.float32, torch.bfloat16, torch.float64):
            x, y = param(0.5, 6, 1000, dtype=dtype), param(2.0, 6, 1000, dtype=dtype)
            row, one = param(1.0, 1000, dtype=dtype), param(1.0, dtype=dtype)
            laws = [(dist.Normal, (x, one)), (dist.Gamma, (y, y))]
            whole = dtype == torch.float32  # the rest is other bounds, layouts and gradients, of no dtype's own
            if whole:
                laws += [(dist.Normal, (x, y)), (dist.LogNormal, (x, y)), (dist.Uniform, (x, y)),
                         (dist.Weibull, (one, y)), (dist.TanhNormal, (x, y)),
                         (dist.Exponential, (y.detach().T.requires_grad_(),))]
            for make, leaves in laws:
                d = make(*leaves)
                grad = torch.ones(d.batch_shape, device="cuda", dtype=dtype)
                draws += [d.sample, lambda d=d, p=leaves, g=grad: torch.autograd.grad(d.rsample(), p, g)]
            draws += [dist.Categorical(logits=x.detach()).sample, dist.Normal(x, y).rsample_with_log_prob]
            if whole:
                draws += [dist.OneHotCategorical(x.detach()[:, 1:]).sample,
                          dist.Categorical(logits=x.detach()[:, :16].contiguous()).sample,
                          dist.Normal(x, row.detach()).sample, dist.Bernoulli(logits=x).sample]
        print(native_core.wait())
        core, alike = native_core.CORE, 0
        for i, draw in enumerate(draws):
            runs = []
            for native_core.CORE in (None, core):
                recorded = list(letters_of)
                letters_of.clear()
                for _ in range(5):
                    draw()
                letters_of[:] = recorded
                torch.cuda.manual_seed(2**40 + 3)
                torch.cuda.default_generators[0].set_offset(2**35)
                seen.clear()
                by_core.clear()
                if native_core.CORE is None:
                    letters_of.clear()  # of the launches in their order, which are the core's too
                draw()
                seen.append(torch.cuda.default_generators[0].get_offset())
                runs.append(list(seen))
            alike += runs[0] == runs[1] and len(by_core) == len(runs[1]) - 1 > 0
            if runs[0] != runs[1]:
                print(i, runs)
        print(len(draws), alike)
        """
    )
    assert printed[0] == "True"
    total, alike = map(int, printed[-1].split())
    assert total == alike > 30, printed


def test_a_capture_takes_its_key_from_memory(on_a_stub_gpu):
    printed = on_a_stub_gpu(
        """
        import rsample.distributions as dist
        from rsample.kernels.draws import native_core

        print(native_core.wait())
        x = torch.zeros(1024, device="cuda")
        d = dist.Normal(x, 1.0)
        c = dist.Categorical(logits=torch.zeros(64, 128, device="cuda"))
        for _ in range(6):
            d.sample(), c.sample()
        answers = []

        class Counted:
            def __getattr__(self, name):
                function = getattr(core, name)
                return lambda *args: answers.append((name, function(*args))) or answers[-1][1]

        core, native_core.CORE = native_core.CORE, Counted()
        for native in (True, False):
            stub.capturing.value = not native
            answers.clear()
            try:
                d.sample(), c.sample()
            except RuntimeError as error:  # generators are told of graphs by torch.cuda.graph alone
                print(error)
            print([answer is not None for name, answer in answers if name in ("draw", "race")])
        stub.capturing.value = 0
        """
    )
    assert printed[:2] == ["True", "[True, True]"]
    assert "True" not in printed[-1]
    assert "False" in printed[-1]


ALONE = """
    import os
    import torch
    import rsample.distributions as dist
    from rsample.kernels.draws import native_core

    d = dist.Normal(torch.zeros(3), 1.0)
    for _ in range(3):
        d.sample()
    print(native_core.wait())
    pid = os.fork()
    if pid == 0:
        d.sample()
        os._exit(0 if native_core.wait() == (native_core.CORE is not None) else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_build_that_failed_is_not_tried_again_by_each_process(tmp_path, monkeypatch, caplog):
    compiler, tries = tmp_path / "compiler", tmp_path / "tries"
    compiler.write_text(f"#!/bin/sh\necho tried >> {tries}\necho no such header >&2\nexit 1\n")
    compiler.chmod(0o755)
    cache = tmp_path / "cache"
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("RSAMPLE_CACHE_DIR", str(cache))
    caplog.set_level("INFO", "rsample")

    def messages(again=False):
        """Of a process that has the core loaded, which knows of others by the folder alone."""
        caplog.clear()
        native_core._load(again)
        return caplog.messages

    messages()
    (failed,) = cache.glob("*.failed")
    assert "no such header" in failed.read_text()
    assert messages() == [f"draws of few numbers go through Python: their C++ did not compile, see {failed}"]
    assert tries.read_text().split() == ["tried"]
    messages(again=True)
    assert len(tries.read_text().split()) == 2
    os.utime(failed, (0, 0))
    messages()
    assert len(tries.read_text().split()) == 3


@pytest.mark.parametrize("compiler", [None, "false", "no-such-compiler"])
def test_of_a_process_by_itself(compiler, tmp_path, monkeypatch):
    if compiler is not None:
        monkeypatch.setenv("CXX", compiler)
        monkeypatch.setenv("RSAMPLE_CACHE_DIR", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(ALONE)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(compiler is None), "0"]
