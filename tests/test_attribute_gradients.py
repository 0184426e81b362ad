"""Gradients of a distribution's attributes, which are its parameters in the batch shape."""

import pytest
import torch
import torch.distributions as td

import rsample.distributions as dist
from rsample.distributions import _sampling

KEY = torch.tensor([20_26, 17], dtype=torch.uint64)

# A class, its parameters' names, and the one that is broadcast.
FAMILIES = [
    (dist.Normal, ("loc", "scale")),
    (dist.Uniform, ("low", "high")),
    (dist.Laplace, ("loc", "scale")),
    (dist.LogNormal, ("loc", "scale")),
    (dist.Gamma, ("concentration", "rate")),
    (dist.Weibull, ("scale", "concentration")),
    (dist.Beta, ("concentration1", "concentration0")),
]
every_family = pytest.mark.parametrize(("cls", "names"), FAMILIES, ids=lambda x: getattr(x, "__name__", ""))
every_method = pytest.mark.parametrize("method", ["rsample", "rsample_with_log_prob"])


@pytest.fixture(params=["small", "large"], autouse=True)
def _size(request, monkeypatch):
    """Draws of few numbers take the attributes, larger ones choose in backward."""
    if request.param == "large":
        monkeypatch.setattr(_sampling, "WHOLE_GRADIENTS", 0)


def make(cls, requires_grad=True, dtype=torch.float32):
    """A distribution of a whole parameter and one number, and that number."""
    whole = torch.linspace(0.5, 1.0, 3, dtype=dtype).requires_grad_()
    number = torch.tensor(2.0, dtype=dtype, requires_grad=requires_grad)
    return cls(whole, number), number


def loss(d, method):
    outputs = getattr(d, method)((5,), key=KEY)
    outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    return sum((x * torch.linspace(1, 2, x.numel(), dtype=x.dtype).reshape(x.shape)).sum() for x in outputs)


def expected(cls, names, method, dtype=torch.float32):
    """The whole gradient: that of a parameter that was not broadcast."""
    whole = torch.linspace(0.5, 1.0, 3, dtype=dtype)
    other = torch.full((3,), 2.0, dtype=dtype, requires_grad=True)
    return torch.autograd.grad(loss(cls(whole, other), method), other)[0]


@every_family
@every_method
def test_a_gradient_can_be_asked_of_an_attribute(cls, names, method):
    d, number = make(cls)
    attribute = getattr(d, names[1])
    whole = expected(cls, names, method)
    (gradient,) = torch.autograd.grad(loss(d, method), attribute)
    torch.testing.assert_close(gradient, whole)
    both = torch.autograd.grad(loss(d, method), (attribute, number))
    torch.testing.assert_close(both, (whole, whole.sum()))
    loss(d, method).backward(inputs=[number])
    torch.testing.assert_close(number.grad, whole.sum())


@every_family
@every_method
def test_hooks_and_retained_gradients_see_all_of_it(cls, names, method):
    whole = expected(cls, names, method)
    seen = []
    d, number = make(cls)
    getattr(d, names[1]).register_hook(seen.append)
    loss(d, method).backward()
    torch.testing.assert_close(seen, [whole])
    torch.testing.assert_close(number.grad, whole.sum())
    d, number = make(cls)
    total = loss(d, method)
    getattr(d, names[1]).retain_grad()  # after the draw
    total.backward()
    torch.testing.assert_close(getattr(d, names[1]).grad, whole)
    torch.testing.assert_close(number.grad, whole.sum())


@every_family
def test_a_hook_may_change_the_gradient(cls, names):
    d, number = make(cls)
    getattr(d, names[1]).register_hook(lambda g: 2 * g)
    loss(d, "rsample").backward()
    torch.testing.assert_close(number.grad, 2 * expected(cls, names, "rsample").sum())


@every_family
def test_draw_and_density_add_up(cls, names):
    d, number = make(cls)
    attribute = getattr(d, names[1])

    def total():
        x = d.rsample(key=KEY)
        return x.sum() + d.log_prob(x.detach()).sum()

    parts = torch.autograd.grad(d.rsample(key=KEY).sum(), attribute)[0]
    parts = parts + torch.autograd.grad(d.log_prob(d.sample(key=KEY)).sum(), attribute)[0]
    torch.testing.assert_close(torch.autograd.grad(total(), attribute)[0], parts)
    total().backward()
    torch.testing.assert_close(number.grad, parts.sum())


@every_family
@pytest.mark.parametrize("_size", ["large"], indirect=True)
def test_a_training_step_reduces_in_the_kernel(cls, names):
    """No gradient of the sample's size leaves the draw."""
    d, number = make(cls)
    x = d.rsample((5,), key=KEY)
    shapes = []
    x.grad_fn.register_hook(lambda grads, _: shapes.extend(g.shape for g in grads if g is not None))
    x.sum().backward()
    assert shapes == [(3,), ()]
    assert number.grad.shape == ()


@every_family
def test_second_derivatives_of_an_attribute(cls, names):
    d, number = make(cls, dtype=torch.float64)
    attribute = getattr(d, names[1])
    (first,) = torch.autograd.grad((d.rsample((5,), key=KEY) ** 2).sum(), attribute, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), attribute, retain_graph=True)
    (of_number,) = torch.autograd.grad(first.sum(), number)
    torch.testing.assert_close(second.sum(), of_number)
    plain = torch.full((3,), 2.0, dtype=torch.float64, requires_grad=True)
    whole = torch.linspace(0.5, 1.0, 3, dtype=torch.float64)
    (g,) = torch.autograd.grad((cls(whole, plain).rsample((5,), key=KEY) ** 2).sum(), plain, create_graph=True)
    torch.testing.assert_close(second, torch.autograd.grad(g.sum(), plain)[0])


@every_family
def test_forward_mode_and_transforms(cls, names):
    whole = torch.linspace(0.5, 1.0, 3, dtype=torch.float64)

    def f(number):
        return cls(whole, number, validate_args=False).rsample((5,), key=KEY)

    number = torch.tensor(2.0, dtype=torch.float64)
    tangent = torch.func.jvp(f, (number,), (torch.ones_like(number),))[1]
    torch.testing.assert_close(torch.func.jacrev(f)(number), tangent)
    d, number = make(cls, dtype=torch.float64)
    grads = torch.autograd.grad(
        d.rsample((2,), key=KEY), getattr(d, names[1]), torch.eye(6).double().reshape(6, 2, 3), is_grads_batched=True
    )[0]
    assert grads.shape == (6, 3)


def test_numbers_and_expanded_tensors_of_the_user():
    d = dist.Normal(torch.zeros(3), 1.0)
    d.scale.requires_grad_()
    (gradient,) = torch.autograd.grad(d.rsample(key=KEY).sum(), d.scale)
    torch.testing.assert_close(gradient, dist.Normal(torch.zeros(3), 1.0).sample(key=KEY))
    number = torch.tensor(1.0, requires_grad=True)
    expanded = number.expand(3)
    seen = []
    expanded.register_hook(seen.append)
    dist.Normal(torch.zeros(3), expanded).rsample(key=KEY).sum().backward()
    torch.testing.assert_close(seen, [gradient])
    torch.testing.assert_close(number.grad, gradient.sum())


def test_what_was_made_without_a_graph_has_none():
    number = torch.tensor(1.0, requires_grad=True)
    for library in (dist, td):
        with torch.no_grad():
            d = library.Normal(torch.zeros(3), number)
        d.rsample().sum().backward()
        assert number.grad is None


@pytest.mark.parametrize("library", [dist, td])
def test_a_module_that_changes_its_dtype(library):
    class Policy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(1e-3))
            self.loc = torch.nn.Parameter(torch.tensor(5.0))
            self.law = library.Normal(self.loc, self.scale.expand(3))

    policy = Policy().double()
    with torch.no_grad():
        policy.loc += 100
    x = policy.law.sample()
    assert x.dtype == policy.law.mean.dtype
    assert ((x - policy.law.mean).abs() < 1).all()
    assert policy.law.log_prob(x).dtype == x.dtype


def test_expanded_distributions():
    number = torch.tensor(2.0, requires_grad=True)
    d = dist.Normal(torch.zeros(3), number).expand((4, 3))
    (gradient,) = torch.autograd.grad(d.rsample(key=KEY).sum(), d.scale)
    torch.testing.assert_close(gradient, dist.Normal(torch.zeros(4, 3), 1.0).sample(key=KEY))


def test_compiled_code():
    def f(loc, number):
        d = dist.Normal(loc, number, validate_args=False)
        return d.rsample((5,), key=KEY).sum()

    loc, number = torch.zeros(3), torch.tensor(2.0, requires_grad=True)
    (expected,) = torch.autograd.grad(f(loc, number), number)
    (gradient,) = torch.autograd.grad(torch.compile(f, fullgraph=True)(loc, number), number)
    torch.testing.assert_close(gradient, expected)
