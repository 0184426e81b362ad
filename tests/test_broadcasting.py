"""Any shapes that broadcast, in any memory layout, on both CPU backends: the sample and its gradients."""

import subprocess
import sys

import pytest
import stateless
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rsample.distributions as dist
from rsample.distributions._arguments import broadcast_shapes
from rsample.kernels import use_backend

KEY = torch.tensor([3, 2**33 - 9], dtype=torch.uint64)


@st.composite
def parameter(draw, batch):
    """A float64 tensor whose shape broadcasts to `batch`: fewer dimensions, sizes of 1, any order of strides."""
    shape = [draw(st.sampled_from([size, 1])) for size in batch[draw(st.integers(0, len(batch))) :]]
    order = draw(st.permutations(range(len(shape))))
    values = torch.arange(1, torch.Size(shape).numel() + 1, dtype=torch.float64)
    laid_out = values.reshape([shape[d] for d in order]).permute([order.index(d) for d in range(len(shape))])
    if shape and draw(st.booleans()):
        laid_out = laid_out.flip(draw(st.integers(0, len(shape) - 1)))
    assert list(laid_out.shape) == shape
    return laid_out


@st.composite
def draws(draw):
    batch = draw(st.lists(st.integers(0, 5), max_size=4))
    sample_shape = draw(st.lists(st.integers(1, 3), max_size=2))
    return sample_shape, draw(parameter(batch)), draw(parameter(batch))


@pytest.mark.parametrize("backend", ["reference", "compiled"])
# No limit of time, which a busy machine would break.
@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100)
@given(draws())
def test_sample_and_gradients_follow_the_formula(backend, case):
    sample_shape, loc, scale = case
    ours = [p.detach().requires_grad_() for p in (loc, scale)]
    plain = [p.detach().contiguous().requires_grad_() for p in (loc, scale)]
    with use_backend(backend):
        sample = dist.Normal(*ours).rsample(sample_shape, key=KEY)
        weight = torch.linspace(-1, 1, sample.numel(), dtype=torch.float64).reshape(sample.shape)
        grads = torch.autograd.grad(sample, ours, weight)
    formula = plain[0] + plain[1] * stateless.normal(KEY, sample.shape, dtype=torch.float64)
    expected = torch.autograd.grad(formula, plain, weight)
    # A sample is two roundings of float64 (1e-16) from the formula; a gradient sums up to 5625 terms, in any order.
    torch.testing.assert_close(sample, formula.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grads, expected, rtol=1e-11, atol=1e-11)


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=3))
def test_shapes_broadcast_as_torchs_do(shapes):
    try:
        expected = torch.broadcast_shapes(*shapes)
    except RuntimeError:
        with pytest.raises(RuntimeError, match="do not broadcast"):
            broadcast_shapes(*shapes)
    else:
        assert broadcast_shapes(*shapes) == expected


WITHOUT_TORCHS = """
import sys
import torch
import rsample.distributions as dist

numbers = torch.full((3,), 0.5)
dist.Normal(numbers, 1.0).sample()
dist.Beta(numbers, numbers[0]).sample()
dist.Binomial(torch.tensor(5), numbers).sample()
dist.MultivariateNormal(numbers, torch.eye(3).expand(2, 3, 3)).sample()
dist.Wishart(numbers + 3, torch.eye(3)).sample()
print("sympy" in sys.modules)
"""


def test_constructors_do_not_import_what_torch_broadcasts_shapes_by():
    """Transforms of torch's do: so those of its TransformedDistribution are not asked."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCHS], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
