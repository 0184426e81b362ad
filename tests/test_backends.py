"""The choice of a backend, and that backends agree."""

import asyncio
import contextvars
import os
import subprocess
import sys
import textwrap
import threading

import pytest
import torch

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.draws import native_core, ops
from rsample.kernels.draws.plans import Plans
from rsample.kernels.engines.cpu import elementwise as compiled
from rsample.kernels.runtime.backend import backend_for

KEY = torch.tensor([11, 2**64 - 5], dtype=torch.uint64)

WITHOUT_TRITON = """
    import sys
    sys.modules["triton"] = None  # any import of it now raises ImportError

    import torch
    import rsample.distributions as dist
    from rsample.kernels import use_backend

    loc = torch.zeros(3, requires_grad=True)
    dist.Normal(loc, 1.0).rsample((2**14,)).sum().backward()
    assert torch.equal(loc.grad, torch.full((3,), 2.0**14))
    assert dist.Bernoulli(logits=torch.zeros(4)).sample().shape == (4,)
    assert 0 <= dist.Uniform(0.0, 1.0).sample() < 1
    try:
        with use_backend("triton"):
            pass
    except RuntimeError as error:
        assert "not installed" in str(error)
    else:
        raise AssertionError("the triton backend must refuse")
    print("sampled")
"""


def test_imports_and_samples_where_triton_is_not_installed():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WITHOUT_TRITON)], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "sampled"


@pytest.fixture
def backends_called(monkeypatch):
    called = []
    monkeypatch.setattr(native_core, "CORE", None)
    monkeypatch.setattr(Plans, "find", lambda *args: None)
    for name in ("compiled", "reference"):
        module = getattr(ops, name)

        def record(*args, name=name, run=module.forward):
            called.append(name)
            return run(*args)

        monkeypatch.setattr(module, "forward", record)
    return called


def test_draws_of_every_size_run_compiled_on_the_cpu(backends_called):
    for numel in (1, compiled.INTERPRETED_NUMEL - 1, compiled.INTERPRETED_NUMEL):
        dist.Normal(0.0, 1.0).sample((numel,))
    assert backends_called == ["compiled"] * 3


def test_use_backend_forces_and_restores(backends_called):
    with use_backend("compiled"):
        dist.Normal(0.0, 1.0).sample((4,))
        with use_backend("reference"):
            dist.Normal(0.0, 1.0).sample((2**15,))
        dist.Normal(0.0, 1.0).sample((4,))
    dist.Normal(0.0, 1.0).sample((4,))
    assert backends_called == ["compiled", "reference", "compiled", "compiled"]


def chosen():
    return backend_for(torch.device("cpu"), 3, [torch.zeros(3)])


def test_overlapping_blocks_of_two_threads():
    inside, leave, seen = threading.Event(), threading.Event(), []

    def other():
        seen.append(chosen())
        with use_backend("reference"):
            inside.set()
            leave.wait(900)
            seen.append(chosen())
        seen.append(chosen())

    thread = threading.Thread(target=other)
    with use_backend("reference"):
        thread.start()
        assert inside.wait(900)
    assert chosen() == "compiled"
    leave.set()
    thread.join()
    assert seen == ["compiled", "reference", "compiled"]
    assert chosen() == "compiled"


def test_a_thread_takes_the_choice_along_in_a_copy_of_the_context():
    seen = []
    with use_backend("reference"):
        context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(lambda: seen.append(chosen()),))
    thread.start()
    thread.join()
    assert seen == ["reference"]


def test_tasks_have_blocks_of_their_own():
    async def draw(name, before, after):
        with use_backend(name):
            await asyncio.sleep(before)
            seen = chosen()
            await asyncio.sleep(after)
        return seen, chosen()

    async def main():
        with use_backend("compiled"):
            return await asyncio.gather(draw("reference", 0, 0.01), draw("compiled", 0.005, 0.02))

    assert asyncio.run(main()) == [("reference", "compiled"), ("compiled", "compiled")]
    assert chosen() == "compiled"


def test_blocks_may_end_in_another_order_than_they_began():
    def inside(name):
        with use_backend(name):
            yield

    first, second = inside("compiled"), inside("reference")
    next(first), next(second)
    first.close()
    assert chosen() == "reference"
    second.close()
    first, second = inside("reference"), inside("compiled")
    next(first), next(second)
    first.close()
    second.close()
    assert chosen() == "compiled"


@pytest.mark.parametrize("elsewhere", [True, False], ids=["in another thread", "after the block"])
def test_backward_runs_where_the_draw_ran(monkeypatch, elsewhere):
    called = []
    monkeypatch.setattr(native_core, "CORE", None)
    monkeypatch.setattr(Plans, "find", lambda *args: None)
    for name in ("compiled", "reference"):
        module = getattr(ops, name)

        def record(*args, name=name, run=module.backward):
            called.append(name)
            return run(*args)

        monkeypatch.setattr(module, "backward", record)
    loc, scale = (torch.ones(1100, requires_grad=True) for _ in range(2))
    for make in (dist.Normal, dist.Laplace, dist.LogNormal):
        with use_backend("reference"):
            total = make(loc, scale).rsample().sum()
            pull_back = torch.func.vjp(lambda scale, make=make: make(loc, scale).rsample(), scale)[1]
        pull_back(torch.ones_like(scale))
        if elsewhere:
            thread = threading.Thread(target=total.backward)
            thread.start()
            thread.join()
        else:
            total.backward()
        # A block around backward comes first.
        with use_backend("compiled"):
            make(loc, scale).rsample().sum().backward()
    assert called == ["reference", "reference", "compiled"] * 3


def test_environment_variable_sets_the_default():
    code = """
import torch
from rsample.kernels.runtime.backend import backend_for
import threading
def show():
    print(backend_for(torch.device("cpu"), 2**20, [torch.zeros(3)]))
show()
thread = threading.Thread(target=show)
thread.start()
thread.join()
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"RSAMPLE_BACKEND": "reference"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert run.stdout.split() == ["reference", "reference"], run.stderr


def test_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="backend must be one of triton, compiled, reference; got 'cuda'"):
        use_backend("cuda").__enter__()


def test_kernels_refuse_cpu_tensors_where_nothing_runs_them():
    code = """
import rsample.distributions as dist
from rsample.kernels import use_backend
with use_backend("triton"):
    dist.Normal(0.0, 1.0).sample()
"""
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=900)
    assert "backend 'triton' runs on CPU tensors only under Triton's interpreter" in run.stderr


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("make", "exact"),
    [
        (lambda p: dist.Uniform(p - 1, p + 1), True),
        (lambda p: dist.Bernoulli(p), True),
        (lambda p: dist.Bernoulli(logits=p * 8 - 4), False),
        (lambda p: dist.Normal(p, p + 0.5), False),
    ],
    ids=["uniform", "bernoulli-probs", "bernoulli-logits", "normal"],
)
def test_cpu_backends_draw_the_same_sample(make, exact, dtype):
    d = make(torch.linspace(0, 1, 4099).to(dtype))
    drawn = {}
    for name in ("reference", "compiled"):
        with use_backend(name):
            drawn[name] = d.sample((5,), key=KEY)
    if exact:
        assert torch.equal(drawn["reference"], drawn["compiled"])
    elif isinstance(d, dist.Bernoulli):
        # exp differs in its last bit between implementations: a comparison flips once in 2**24 draws or so.
        assert (drawn["reference"] != drawn["compiled"]).sum() <= 1
    else:
        # |sample| < 10: a few roundings of the dtype, and of float32 beneath it for halves.
        tolerance = 16 * max(torch.finfo(dtype).eps, 1e-15)
        assert (drawn["reference"] - drawn["compiled"]).abs().max() <= tolerance
