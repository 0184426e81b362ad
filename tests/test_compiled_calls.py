"""Draws that torch.compile has compiled for the CPU: calls of the loops, without the dispatcher."""

import pytest
import torch
from torch._functorch import config
from torch._inductor import config as inductor_config
from torch._inductor.utils import run_and_get_code

import rsample.distributions as dist

KEY = torch.tensor([20261201, 2**32 - 100], dtype=torch.uint64)
N = 37


@pytest.fixture(autouse=True)
def _compiled_anew(short_way):
    torch._dynamo.reset()
    with inductor_config.patch(fx_graph_cache=False), config.patch(enable_autograd_cache=False):
        yield


def positive(*shape, dtype=torch.float32, seed=0):
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)) + 0.5


def run(function, params, compiled):
    """The sample of a key and of the seed, the gradients through both, and the generated code."""
    leaves = [p.detach().clone().requires_grad_() for p in params]
    function = torch.compile(function, fullgraph=True) if compiled else function

    def step():
        samples = function(*leaves)
        return (*samples, *torch.autograd.grad([s.sum() for s in samples], leaves))

    torch.manual_seed(5)
    if compiled:
        results, codes = run_and_get_code(step)
        return results, "".join(codes)
    return step(), ""


@pytest.mark.parametrize(
    ("cls", "params"),
    [
        (dist.Normal, (positive(N), positive(N, seed=1))),
        (dist.Normal, (positive(N), positive(1, seed=1))),
        (dist.Normal, (positive(3, N), positive(N, seed=1))),
        (dist.Weibull, (positive(N), positive(N, seed=1))),
        (dist.Laplace, (positive(N, dtype=torch.float64), positive(dtype=torch.float64))),
        (dist.Gumbel, (positive(N), positive(N, seed=1, dtype=torch.float64))),
        (dist.Cauchy, (positive(N, dtype=torch.bfloat16), positive(N, seed=1, dtype=torch.bfloat16))),
        (dist.Normal, (positive(2, N).T, positive(2, seed=1))),
    ],
    ids=["dense", "one number", "broadcast", "not linear", "float64", "two dtypes", "bfloat16", "transposed"],
)
def test_are_eager_draws(cls, params):
    """Of a key that is given and of one that is reserved. Sums of gradients may go in another order."""

    def function(*params):
        d = cls(*params, validate_args=False)
        return d.rsample(key=KEY) * 1, d.rsample() * 1

    (ours, code), (eager, _) = (run(function, params, compiled) for compiled in (True, False))
    for i, (a, b) in enumerate(zip(ours, eager, strict=True)):
        rtol = 0 if i < 2 else 4 * torch.finfo(b.dtype).eps
        torch.testing.assert_close(a, b, rtol=rtol, atol=0)
    assert "rsample_draw_of_key(" in code
    assert "rsample_gradients_of_key(" in code
    assert "torch.ops.rsample" not in code


def test_a_draw_with_its_log_density_is_one_call():
    def function(loc, scale):
        x, log_prob = dist.Normal(loc, scale, validate_args=False).rsample_with_log_prob(key=KEY)
        return x * 1, log_prob * 1

    params = positive(N), positive(N, seed=1)
    for _ in range(2):  # from the second draw of a kind on the core knows it
        (eager, _) = run(function, params, False)
    ours, code = run(function, params, True)
    for a, b in zip(ours, eager, strict=True):
        assert torch.equal(a, b)
    assert code.count(" = rsample_draw_of_key(") == code.count(" = rsample_gradients_of_key(") == 1
    assert "torch.ops.rsample" not in code


def test_sizes_that_change_are_not_compiled_again():
    draw = torch.compile(lambda loc, scale: dist.Normal(loc, scale, validate_args=False).rsample(key=KEY), dynamic=True)
    for n in (5, 9, 33):
        loc, scale = positive(n), positive(n, seed=1)
        with torch.compiler.set_stance("default" if n == 5 else "fail_on_recompile"):
            sample = draw(loc, scale)
        assert torch.equal(sample, dist.Normal(loc, scale).sample(key=KEY))


def test_a_gradient_is_not_the_memory_that_was_given():
    """That of a location is the sample's gradient itself, which generated code may write over."""

    def function(loc, scale):
        return (dist.Normal(torch.relu(loc), scale, validate_args=False).rsample(key=KEY) * scale,)

    (ours, _), (eager, _) = (run(function, (positive(N), positive(N, seed=1)), c) for c in (True, False))
    for a, b in zip(ours, eager, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
