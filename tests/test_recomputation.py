"""What backward computes again is the sample that forward drew, whoever decides what is kept."""

import functools

import pytest
import torch
import torch._functorch.config as functorch_config
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

import rsample.distributions as dist

# The partitioner of torch.compile without its code generator, whose cache knows nothing of a changed operator.
BACKEND = "aot_eager_decomp_partition"


def layer(h, weight):
    h = torch.tanh(h @ weight)
    return h + dist.Normal(h, torch.exp(h)).rsample() * dist.Gamma(torch.exp(h), 1.0).rsample()


def layers(h, weight, layer=layer):
    for _ in range(3):
        h = layer(h, weight)
    return h


def output_and_gradient(function):
    generator = torch.Generator().manual_seed(1)
    weight = (torch.randn(16, 16, generator=generator) * 0.1).requires_grad_()
    torch.manual_seed(2)
    output = function(torch.randn(32, 16, generator=generator), weight)
    output.square().sum().backward()
    return output, weight.grad


def check(function):
    # Sums of 32 rows in another order.
    torch.testing.assert_close(output_and_gradient(function), output_and_gradient(layers), rtol=1e-4, atol=1e-4)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("budget", [0.9, 0.5, 0.3, 0.05])
def test_a_compiler_short_of_memory_keeps_the_key(budget):
    with functorch_config.patch(activation_memory_budget=budget):
        check(torch.compile(layers, backend=BACKEND))


def recompute_all(context, op, *args, **options):
    return CheckpointPolicy.MUST_RECOMPUTE


CHECKPOINTS = {
    "reentrant": functools.partial(checkpoint, use_reentrant=True),
    "not reentrant": functools.partial(checkpoint, use_reentrant=False),
    "selective": functools.partial(
        checkpoint,
        use_reentrant=False,
        context_fn=functools.partial(create_selective_checkpoint_contexts, recompute_all),
    ),
}


# torch.compile traces no reentrant checkpoint.
@pytest.mark.parametrize(
    ("kind", "compiled"), [(k, c) for k in CHECKPOINTS for c in (False, True) if not (c and k == "reentrant")]
)
def test_a_checkpointed_layer_draws_the_same_sample_again(kind, compiled):
    function = functools.partial(layers, layer=functools.partial(CHECKPOINTS[kind], layer))
    check(torch.compile(function, backend=BACKEND) if compiled else function)
