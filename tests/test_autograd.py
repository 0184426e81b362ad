"""Gradients of draws: values, every order and mode, and what is kept for backward."""

import pytest
import stateless
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck

import rsample.distributions as dist

KEY = torch.tensor([20_26, 7], dtype=torch.uint64)

# A distribution, its two parameters' shapes, and the sample shape: dense, scalar, and each kind of broadcast.
SHAPES = [
    ((), (), ()),
    ((), (), (5,)),
    ((3,), (3,), ()),
    ((3,), (), (4,)),
    ((2, 3), (3,), ()),
    ((2, 1), (3,), (2,)),
    ((3, 1), (2, 3, 4), (2,)),
    ((0,), (0,), (3,)),
]
FAMILIES = [dist.Normal, dist.Uniform]


def parameters(first, second, dtype=torch.float64):
    a = torch.linspace(-1.0, 1.0, max(1, torch.Size(first).numel()), dtype=dtype)[: torch.Size(first).numel()]
    b = torch.linspace(1.5, 2.5, max(1, torch.Size(second).numel()), dtype=dtype)[: torch.Size(second).numel()]
    return a.reshape(first).requires_grad_(), b.reshape(second).requires_grad_()


def draw(family, sample_shape, key=KEY):
    return lambda a, b: family(a, b, validate_args=False).rsample(sample_shape, key=key)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("first", "second", "sample_shape"), SHAPES)
def test_gradients_of_first_and_second_order_and_forward_mode(family, first, second, sample_shape):
    a, b = parameters(first, second)
    fn = draw(family, sample_shape)
    # The draw is affine in its parameters, so finite differences are exact up to rounding.
    assert gradcheck(fn, (a, b), check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    assert gradgradcheck(fn, (a, b))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("first", "second", "sample_shape"), SHAPES)
def test_gradients_equal_those_of_the_plain_formula(family, first, second, sample_shape):
    a, b = parameters(first, second)
    sample = draw(family, sample_shape)(a, b)
    weight = torch.linspace(0.5, 1.5, sample.numel(), dtype=torch.float64).reshape(sample.shape)
    ours = torch.autograd.grad((sample * weight).sum(), (a, b))

    if family is dist.Normal:
        formula = a + b * stateless.normal(KEY, sample.shape, dtype=torch.float64)
    else:
        formula = a + (b - a) * stateless.uniform(KEY, sample.shape, dtype=torch.float64)
    expected = torch.autograd.grad((formula * weight).sum(), (a, b))
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", [1000, 2**16 + 3])
def test_nothing_of_sample_size_is_kept_for_backward(family, n):
    a, b = parameters((n,), (n,), torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        family(a, b).rsample((2,)).sum()
    assert all(shape.numel() <= 2 for shape in kept)


def test_mixed_dtypes_promote_and_gradients_return_in_each_parameters_dtype():
    loc = torch.zeros(16, dtype=torch.bfloat16, requires_grad=True)
    scale = torch.ones(16, 16, dtype=torch.float32, requires_grad=True)
    sample = dist.Normal(loc, scale).rsample(key=KEY)
    assert sample.dtype == torch.float32
    sample.sum().backward()
    assert (loc.grad.dtype, scale.grad.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(loc.grad, torch.full((16,), 16.0, dtype=torch.bfloat16))


def test_only_the_parameters_that_need_it_get_a_gradient():
    loc = torch.zeros(4)
    scale = torch.ones(4, requires_grad=True)
    dist.Normal(loc, scale).rsample(key=KEY).sum().backward()
    assert loc.grad is None
    torch.testing.assert_close(scale.grad, stateless.normal(KEY, 4), rtol=0, atol=2e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_sample_is_outside_every_graph(family):
    a, b = parameters((4,), (4,), torch.float32)
    assert not family(a, b).sample((3,)).requires_grad
    assert torch.equal(family(a, b).sample((3,), key=KEY), family(a, b).rsample((3,), key=KEY).detach())
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(a.detach(), torch.ones(4))
        assert forward_ad.unpack_dual(family(dual, b.detach()).sample()).tangent is None
        assert forward_ad.unpack_dual(family(dual, b.detach()).rsample()).tangent is not None


def test_bernoulli_has_no_rsample_and_no_graph():
    probs = torch.full((4,), 0.5, requires_grad=True)
    bernoulli = dist.Bernoulli(probs)
    assert not bernoulli.has_rsample
    assert not bernoulli.sample().requires_grad
    with pytest.raises(NotImplementedError, match="Bernoulli has no reparameterised draw"):
        bernoulli.rsample(key=KEY)


def test_functional_transforms_compose():
    loc, scale = torch.tensor(0.3, dtype=torch.float64), torch.tensor(1.2, dtype=torch.float64)

    def loss(loc, scale):
        return (dist.Normal(loc, scale, validate_args=False).rsample((5,), key=KEY) ** 2).sum()

    eps = stateless.normal(KEY, 5, dtype=torch.float64)
    expected = (2 * (loc + scale * eps)).sum(), (2 * (loc + scale * eps) * eps).sum()
    torch.testing.assert_close(torch.func.grad(loss, argnums=(0, 1))(loc, scale), expected)
    # torch.func.hessian is this without the word that vmap, inside jacfwd, wants of every draw.
    jacobian = torch.func.jacrev(loss, argnums=(0, 1))
    hessian = torch.func.jacfwd(jacobian, argnums=(0, 1), randomness="same")(loc, scale)
    torch.testing.assert_close(hessian[1][1], (2 * eps * eps).sum())
    torch.testing.assert_close(hessian[0][1], (2 * eps).sum())
    value, tangent = torch.func.jvp(loss, (loc, scale), (torch.ones_like(loc), torch.zeros_like(scale)))
    torch.testing.assert_close(tangent, expected[0])
    torch.testing.assert_close(value, ((loc + scale * eps) ** 2).sum())


@pytest.mark.parametrize(
    "make", [lambda p: dist.Normal(p, 1.0, validate_args=False), lambda p: dist.Bernoulli(p, validate_args=False)]
)
def test_functional_transforms_see_sample_as_a_constant(make):
    p = torch.tensor(0.5)
    assert torch.func.grad(lambda p: make(p).sample((3,), key=KEY).sum() + p)(p) == 1
    value, tangent = torch.func.jvp(lambda p: make(p).sample((3,), key=KEY), (p,), (torch.ones(()),))
    assert torch.equal(value, make(p).sample((3,), key=KEY))
    assert torch.equal(tangent, torch.zeros(3))


@pytest.mark.parametrize("family", ["Normal", "Weibull", "Gamma", "RelaxedOneHotCategorical", "MultivariateNormal"])
def test_forward_mode_within_forward_mode_is_refused(family):
    """torch returns zeros for the outer derivative of any autograd.Function, without a word."""
    parameters = {
        "RelaxedOneHotCategorical": lambda t: (t, torch.stack([t, 2 * t])),
        "MultivariateNormal": lambda t: (t.expand(2), None, None, t * torch.eye(2)),
    }.get(family, lambda t: (t, 2 * t))

    def draw(t):
        return getattr(dist, family)(*parameters(t), validate_args=False).rsample(key=KEY).sum()

    def tangent(f):
        return lambda t: torch.func.jvp(f, (t,), (torch.ones(()),))[1]

    t = torch.tensor(0.7)
    with pytest.raises(NotImplementedError, match="forward-mode"):
        tangent(tangent(draw))(t)
    torch.testing.assert_close(torch.func.grad(tangent(draw))(t), tangent(torch.func.grad(draw))(t))


@pytest.mark.parametrize("n", [4, 2**11])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: dist.Normal(p - 1, p),
        lambda p: dist.Weibull(p, p + 1),
        lambda p: dist.Gamma(p, p + 1),
        lambda p: dist.RelaxedOneHotCategorical(torch.tensor(0.5), logits=p),
        lambda p: dist.OneHotCategoricalStraightThrough(logits=p),
        lambda p: dist.MultivariateNormal(p[:64], scale_tril=(torch.eye(len(p[:64])) + p[:64, None]).tril()),
    ],
    ids=["affine", "pathwise", "loop", "relaxed", "straight through", "product"],
)
def test_batched_gradients_are_those_of_each_example(make, n):
    """`is_grads_batched=` hands backward a tensor that stands for several and has no memory."""
    p = torch.linspace(1, 2, n).requires_grad_()
    sample = make(p).rsample((2,), key=KEY)
    grads = torch.randn(3, *sample.shape, generator=torch.Generator().manual_seed(0))
    (batched,) = torch.autograd.grad(sample, p, grads, is_grads_batched=True, retain_graph=True)
    each = [torch.autograd.grad(sample, p, grad, retain_graph=True)[0] for grad in grads]
    # The noise is made by other code, whose elementary functions differ in the last places; sums are in another order.
    torch.testing.assert_close(batched, torch.stack(each), rtol=1e-4, atol=1e-4)
