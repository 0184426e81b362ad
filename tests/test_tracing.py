"""What a tracer records of a draw is the draw: made again at each call, from the key that an eager call takes."""

import io

import pytest
import torch
from class_parameters import EVERY_CLASS, POSITIVE, REAL, doubled, identifiers, tensors_and_rest
from torch.fx.experimental.proxy_tensor import make_fx

import rsample.distributions as dist

SEED = 20261129
every_class = pytest.mark.parametrize(("name", "params"), EVERY_CLASS, ids=identifiers(EVERY_CLASS))
tracing = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:Warning")


def draws(name, params, **options):
    """A function of the tensors among the parameters that draws in each way there is, and the tensors."""
    tensors, rest = tensors_and_rest(params)

    def function(*given):
        d = getattr(dist, name)(**dict(zip(tensors, given, strict=True)), **rest, **options)
        samples = [d.sample((5,)), *d.sample_with_log_prob()]
        return [*samples, d.rsample(), *d.rsample_with_log_prob((2,))] if d.has_rsample else samples

    return function, tensors


def seeded(function, *args):
    torch.manual_seed(SEED)
    return function(*args)


def check_equal(ours, eager):
    for a, b in zip(ours, eager, strict=True):
        # A log-density is put together in another order where sizes are tensors.
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-6)


@tracing
@every_class
def test_jit_trace_draws_anew_and_for_other_batch_sizes(name, params):
    function, tensors = draws(name, params)
    args = tuple(tensors.values())
    traced = torch.jit.trace(function, args, check_trace=False)
    for given in (args, tuple(doubled(tensors))):
        first = seeded(traced, *given)
        check_equal(first, seeded(function, *given))
        # The log-densities of discrete draws may agree; some sample differs.
        assert not all(torch.equal(a, b) for a, b in zip(first, traced(*given), strict=True))


class Noise(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.full((3,), 0.5))

    def forward(self, x):
        noisy = dist.Normal(x, self.scale).rsample((4,))
        return noisy, dist.Bernoulli(logits=noisy).sample(), dist.Uniform(0.0, 1.0).sample(x.shape)


@tracing
@pytest.mark.parametrize("n", [2, 2**13], ids=["eager noise", "compiled loops"])
def test_a_traced_module_can_be_saved_and_trained(n):
    module, x = Noise(), torch.zeros(n, 3)
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(module, x), file)
    file.seek(0)
    loaded = torch.jit.load(file)
    more = torch.ones(n + 1, 3, requires_grad=True)
    grads = []
    for each in (module, loaded):
        outputs = seeded(each, more)
        grads.append((*outputs, *torch.autograd.grad(outputs[0].square().sum(), (more, *each.parameters()))))
        assert not any(x.requires_grad for x in outputs[1:])
    for ours, eager in zip(*grads, strict=True):
        # Gradients of the scale are summed over rows in another order.
        torch.testing.assert_close(ours, eager, rtol=1e-5, atol=1e-5)


@tracing
def test_jit_trace_takes_keys_and_generators():
    key = torch.tensor([1, 2], dtype=torch.uint64)
    generator = torch.Generator()

    def function(x, key):
        return dist.Normal(x, 1.0).sample(key=key), dist.Gamma(x.exp(), 1.0).sample((3,), generator=generator)

    traced = torch.jit.trace(function, (REAL, key), check_trace=False)
    other = torch.tensor([3, 4], dtype=torch.uint64)
    assert torch.equal(traced(REAL, other)[0], function(REAL, other)[0])
    state = torch.get_rng_state()
    assert not torch.equal(traced(REAL, key)[1], traced(REAL, key)[1])
    assert torch.equal(torch.get_rng_state(), state)


@every_class
def test_make_fx_records_a_draw_of_any_size(name, params):
    function, tensors = draws(name, params, validate_args=False)
    args = tuple(tensors.values())
    graph = make_fx(function, tracing_mode="symbolic")(*args)
    for given in (args, doubled(tensors)):
        check_equal(seeded(graph, *given), seeded(function, *given))


@every_class
def test_export_records_a_draw(name, params):
    function, tensors = draws(name, params, validate_args=None if "covariance_matrix" not in params else False)
    args = tuple(tensors.values())

    class Module(torch.nn.Module):
        def forward(self, *args):
            return function(*args)

    exported = torch.export.export(Module(), args, strict=False).module()
    check_equal(seeded(exported, *args), seeded(function, *args))


def test_what_is_exported_checks_its_parameters():
    class Module(torch.nn.Module):
        def forward(self, loc, scale):
            return dist.Normal(loc, scale, validate_args=True).rsample()

    exported = torch.export.export(Module(), (REAL, POSITIVE), strict=False).module()
    assert torch.equal(seeded(exported, REAL, POSITIVE), seeded(Module(), REAL, POSITIVE))
    with pytest.raises(RuntimeError, match="scale"):
        exported(REAL, -POSITIVE)
