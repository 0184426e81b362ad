"""The torch.library operators: registration, fakes, tracing and torch.compile."""

from dataclasses import replace

import pytest
import torch
from examples import EXAMPLES
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import rsample.distributions as dist
from rsample.kernels.draws.rows.dirichlet import DIRICHLET
from rsample.kernels.laws import known_laws
from rsample.kernels.laws.rejection.noise import LoopNoise

KEY = torch.tensor([11, 13], dtype=torch.uint64)
OPS = torch.ops.rsample

# The laws of all families, and of both choices of parameters where there are two.
LAWS = {e.law.name: e for e in EXAMPLES}


def operator_names():
    return {name.split("::")[1] for name in torch._C._dispatch_get_all_op_names() if name.startswith("rsample::")}


def forward_laws(example):
    """The laws of a sample, and of a sample with its log-density."""
    law = example.law
    joint = []
    if law.density is not None:
        joint = [law.with_score(), *([law.with_log_prob()] if law.reference_grad is not None else [])]
    tangent = [replace(law, name=f"{law.name}_tangent")] if law.linear and law.support is not None else []
    return [law, *joint, *tangent]


def test_every_operator_is_checked():
    laws = [law for example in EXAMPLES for law in forward_laws(example)]
    forward = {law.name for law in laws}
    backward = {f"{law.name}_backward" for law in laws if law.cotangents}
    # Made for second derivatives, when one is first asked for.
    standard = {name for name in operator_names() if name.startswith("standard_")}
    # tests/test_categorical.py, tests/test_relaxed_categorical.py, tests/test_multivariate_normal.py and
    # tests/test_low_rank_and_logistic_normal.py check theirs, tests/test_loops.py those of the laws that loop.
    # tests/test_tracing.py runs draw_as, which calls the others.
    others = {"reserve_key", "draw_as", "categorical", "relaxed_categorical"}
    matrices = {"multivariate_normal", "multivariate_normal_with_norm", "low_rank_multivariate_normal"}
    loops = [law for law in known_laws().values() if isinstance(law.noise, LoopNoise)]
    # Gamma numbers on a logarithmic scale are drawn as a part of Dirichlet's draw alone.
    loops = [DIRICHLET.law if law.name == "log_gamma" else law for law in loops]
    others |= {law.name for law in loops} | {f"{law.name}_backward" for law in loops if law.cotangents}
    others |= matrices | {f"{name}_backward" for name in matrices}
    assert operator_names() - standard == {*forward, *backward, *others}


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_opcheck_forward(example, requires_grad):
    for law in forward_laws(example):
        params = [p.requires_grad_(requires_grad) for p in example.values((4,), torch.float32)]
        params[0] = params[0].detach().reshape(4)[:1].requires_grad_(requires_grad)
        torch.library.opcheck(getattr(OPS, law.name).default, ([KEY], *params, (2, 3, 4), torch.float32))


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_opcheck_backward(example):
    for law in forward_laws(example):
        if law.cotangents:
            params = example.values((4,), torch.float32)
            grads = [torch.ones(2, 3, 4) for _ in law.cotangents]
            for needs in {(True,) * len(params), (True, *(False,) * (len(params) - 1))}:
                op = getattr(OPS, f"{law.name}_backward").default
                torch.library.opcheck(op, ([KEY], *grads, *params, list(needs)))


def test_opcheck_reserve_key():
    # Its result is random, so the checks that compare two runs do not apply.
    args, kwargs = (16,), {"device": torch.device("cpu")}
    torch.library.opcheck(
        OPS.reserve_key.default,
        args,
        kwargs,
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )


def draws(loc, scale, probs, key=None):
    normal = dist.Normal(loc, scale, validate_args=False)
    return (
        normal.rsample((3,), key=key),
        normal.sample(key=key),
        dist.Uniform(loc, loc + 1, validate_args=False).rsample((2,), key=key),
        dist.Bernoulli(probs, validate_args=False).sample((2,), key=key),
        dist.Bernoulli(logits=probs, validate_args=False).sample(key=key),
    )


def inputs(device="cpu", n=64):
    return torch.zeros(n, device=device), torch.ones(n, device=device), torch.full((n,), 0.5, device=device)


@pytest.mark.parametrize("n", [64, 2**14])
def test_compiled_model_draws_the_numbers_of_the_eager_one(n):
    torch._dynamo.reset()
    args = inputs(n=n)
    compiled = torch.compile(draws, fullgraph=True)
    for ours, eager in zip(compiled(*args, KEY), draws(*args, KEY), strict=True):
        assert torch.equal(ours, eager)
    torch.manual_seed(0)
    first = compiled(*args)
    torch.manual_seed(0)
    for ours, eager in zip(first, draws(*args), strict=True):
        assert torch.equal(ours, eager)


def test_one_compiled_graph_serves_all_sizes():
    torch._dynamo.reset()
    compiled = torch.compile(draws, fullgraph=True, dynamic=True)
    compiled(*inputs(n=96), KEY)
    with torch.compiler.set_stance("fail_on_recompile"):
        for n in (64, 1000, 2**14):
            for ours, eager in zip(compiled(*inputs(n=n), KEY), draws(*inputs(n=n), KEY), strict=True):
                assert torch.equal(ours, eager)


def test_compiled_gradients_equal_eager_ones():
    torch._dynamo.reset()

    def loss(loc, scale, key):
        z = dist.Normal(loc, scale, validate_args=False).rsample((32,), key=key)
        u = dist.Uniform(loc, loc + scale, validate_args=False).rsample((32,), key=key)
        return (z**2).mean() + u.sum()

    grads = []
    for fn in (loss, torch.compile(loss, fullgraph=True)):
        loc, scale = (torch.full((8,), v, requires_grad=True) for v in (0.5, 1.5))
        fn(loc, scale, KEY).backward()
        grads.append((loc.grad, scale.grad))
    # Inductor sums in another order: a few roundings of sums of 32 terms below 10.
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-5)


def test_two_draws_of_one_compiled_function_differ():
    torch._dynamo.reset()

    @torch.compile(fullgraph=True)
    def twice(x):
        normal = dist.Normal(x, 1.0, validate_args=False)
        return normal.sample(), normal.sample()

    first, second = twice(torch.zeros(64))
    assert not torch.equal(first, second)
    assert not torch.equal(first, twice(torch.zeros(64))[0])


@pytest.mark.parametrize("keyed", [True, False])
def test_tracing_on_fake_cuda_tensors(keyed):
    with FakeTensorMode(allow_non_fake_inputs=True):
        key = torch.empty(2, dtype=torch.uint64, device="cuda") if keyed else None
        for sample in draws(*inputs("cuda"), key):
            assert sample.device.type == "cuda"


@pytest.mark.parametrize("keyed", [True, False])
def test_dynamo_traces_fake_cuda_tensors_without_a_graph_break(keyed):
    torch._dynamo.reset()
    with FakeTensorMode(allow_non_fake_inputs=True):
        args = inputs("cuda")
        key = torch.empty(2, dtype=torch.uint64, device="cuda") if keyed else None
        graphs = []

        def capture(module, _):
            graphs.append(module)
            return module.forward

        torch.compile(draws, backend=capture, fullgraph=True)(*args, key)
    (graph,) = graphs
    called = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    assert sum(name.startswith("rsample.normal") for name in called) == 2
    assert sum(name.startswith("rsample.reserve_key") for name in called) == (0 if keyed else 5)


def test_make_fx_records_the_backward_operator():
    def step(loc, scale):
        return torch.autograd.grad(dist.Normal(loc, scale, validate_args=False).rsample(key=KEY).sum(), (loc, scale))

    args = [torch.zeros(3).requires_grad_(), torch.ones(()).requires_grad_()]
    graph = make_fx(step)(*args)
    assert any("normal_backward" in str(node.target) for node in graph.graph.nodes)
