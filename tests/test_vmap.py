"""torch.func.vmap: a draw inside is one draw of the stream contract."""

import functools

import pytest
import torch
from class_parameters import EVERY_CLASS, TRIANGLE, identifiers, tensors_and_rest

import rsample.distributions as dist

KEY = torch.tensor([99, 2**32 - 2], dtype=torch.uint64)
vmap = torch.func.vmap


def make(loc, scale):
    return dist.Normal(loc, scale, validate_args=False)


@pytest.mark.parametrize("method", ["sample", "rsample"])
@pytest.mark.parametrize("n", [4, 5])
def test_different_makes_the_mapped_dimension_lead_the_logical_shape(method, n):
    loc = torch.randn(3, n, generator=torch.Generator().manual_seed(0))
    drawn = vmap(lambda x: getattr(make(x, 2.0), method)((2,), key=KEY), randomness="different")(loc)
    expected = make(loc[:, None], torch.tensor(2.0)).expand((3, 2, n)).sample(key=KEY)
    assert torch.equal(drawn, expected)


@pytest.mark.parametrize("in_dim", [0, 1, -1])
def test_any_parameter_may_be_mapped_along_any_dimension(in_dim):
    scale = torch.rand(3, 3, generator=torch.Generator().manual_seed(1)) + 0.5
    drawn = vmap(lambda s: make(0.0, s).sample(key=KEY), in_dims=in_dim, randomness="different")(scale)
    assert torch.equal(drawn, make(torch.tensor(0.0), scale.movedim(in_dim, 0)).sample(key=KEY))


def test_same_gives_every_example_the_same_noise():
    loc = torch.arange(3.0)
    drawn = vmap(lambda x: make(x, 1.0).sample((4,), key=KEY), randomness="same")(loc)
    eps = make(0.0, 1.0).sample((4,), key=KEY)
    torch.testing.assert_close(drawn, loc[:, None] + eps, rtol=0, atol=1e-6)  # one rounding of a sum below 4


def test_examples_differ_or_not_where_no_parameter_is_mapped():
    def noise(x):
        return x + make(0.0, 1.0).sample((4,), key=KEY)

    different = vmap(noise, randomness="different")(torch.zeros(3))
    same = vmap(noise, randomness="same")(torch.zeros(3))
    assert torch.equal(different, make(0.0, 1.0).sample((3, 4), key=KEY))
    assert torch.equal(same, make(0.0, 1.0).sample((4,), key=KEY).expand(3, 4))


def test_error_mode_raises_as_torch_does_and_consumes_nothing():
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="randomness error mode"):
        vmap(lambda x: make(x, 1.0).sample())(torch.zeros(3))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_mapped_key_draws_per_key_in_every_mode():
    keys = torch.stack([KEY, torch.tensor([5, 0], dtype=torch.uint64)])
    expected = torch.stack([make(0.0, 1.0).sample((6,), key=k) for k in keys])
    for randomness in ("error", "same", "different"):
        drawn = vmap(lambda k: make(0.0, 1.0).rsample((6,), key=k), randomness=randomness)(keys)
        assert torch.equal(drawn, expected)


def test_keys_may_be_mapped_along_any_dimension():
    keys = torch.tensor([[1, 2, 3], [10, 20, 30]], dtype=torch.uint64)
    drawn = vmap(lambda k: make(0.0, 1.0).sample((6,), key=k), in_dims=1)(keys)
    assert torch.equal(drawn, torch.stack([make(0.0, 1.0).sample((6,), key=k) for k in keys.T.contiguous()]))


def test_nested_maps_lead_in_order():
    def inner(x):
        return vmap(lambda y: make(y, 1.0).sample((3,), key=KEY), randomness="different")(x)

    drawn = vmap(inner, randomness="different")(torch.zeros(2, 4))
    assert torch.equal(drawn, make(0.0, 1.0).sample((2, 4, 3), key=KEY))


@pytest.mark.parametrize("randomness", ["different", "same"])
@pytest.mark.parametrize("family", [dist.Normal, dist.Uniform])
def test_per_example_gradients(family, randomness):
    low = torch.linspace(-1.0, 0.0, 3, dtype=torch.float64)
    high = torch.tensor(1.5, dtype=torch.float64)

    def loss(a, b):
        return (family(a, b, validate_args=False).rsample((5,), key=KEY) ** 2).sum()

    per_example = vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(0, None), randomness=randomness)(low, high)

    a, b = low.clone().requires_grad_(), high.expand(3).clone().requires_grad_()
    if randomness == "different":
        sample = family(a[:, None], b[:, None]).expand((3, 5)).rsample(key=KEY)
    else:
        sample = torch.stack([family(a[i], b[i]).rsample((5,), key=KEY) for i in range(3)])
    expected = torch.autograd.grad((sample**2).sum(), (a, b))
    torch.testing.assert_close(per_example, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("randomness", ["different", "same"])
def test_forward_mode_inside_vmap(randomness):
    loc, tangent = torch.zeros(3, dtype=torch.float64), torch.arange(3.0, dtype=torch.float64)

    def push(x, t):
        return torch.func.jvp(lambda y: make(y, 1.0).rsample((5,), key=KEY), (x,), (t,))[1]

    tangents = vmap(push, randomness=randomness)(loc, tangent)
    assert torch.equal(tangents, tangent[:, None].expand(3, 5))


def test_bernoulli_maps_too():
    probs = torch.tensor([0.0, 0.5, 1.0])
    drawn = vmap(lambda p: dist.Bernoulli(p, validate_args=False).sample((64,), key=KEY), randomness="different")(probs)
    assert drawn.shape == (3, 64)
    assert torch.equal(drawn.sum(-1)[[0, 2]], torch.tensor([0.0, 64.0]))
    assert torch.equal(drawn, dist.Bernoulli(probs[:, None]).expand((3, 64)).sample(key=KEY))


def test_reserving_inside_vmap_follows_the_seed():
    def noise(x):
        return make(x, 1.0).sample((4,))

    torch.manual_seed(3)
    first = vmap(noise, randomness="different")(torch.zeros(3))
    torch.manual_seed(3)
    again = vmap(noise, randomness="different")(torch.zeros(3))
    assert torch.equal(first, again)
    assert first.unique().numel() == first.numel()


WISHARTS = [
    ("Wishart", {"df": torch.tensor([3.5, 4.0]), name: TRIANGLE @ TRIANGLE.T})
    for name in ("covariance_matrix", "precision_matrix")
]


@pytest.mark.parametrize(("name", "params"), EVERY_CLASS + WISHARTS, ids=identifiers(EVERY_CLASS + WISHARTS))
def test_every_class_can_be_made_and_drawn_from_inside(name, params):
    tensors, rest = tensors_and_rest(params)
    examples = [torch.stack((p, p)) for p in tensors.values()]

    def draw(method, *given):
        d = getattr(dist, name)(**dict(zip(tensors, given, strict=True)), **rest, validate_args=False)
        return getattr(d, method)((4,), key=KEY)

    for method in ("sample", "rsample")[: 1 + getattr(dist, name)(**params).has_rsample]:
        same = vmap(functools.partial(draw, method), randomness="same")(*examples)
        expected = draw(method, *tensors.values())
        # Of a few roundings: the tail of an exponential number makes more of one.
        torch.testing.assert_close(same, torch.stack((expected, expected)), rtol=1e-4, atol=1e-5)
        different = vmap(functools.partial(draw, method), randomness="different")(*examples)
        assert different.shape == same.shape
        assert not torch.equal(different[0], different[1])
