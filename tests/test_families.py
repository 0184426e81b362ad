"""Every family of the table as users of torch.distributions know it: draws, densities, gradients and transforms."""

import copy
import math
import pickle

import pytest
import torch
from examples import DISCRETE, EXAMPLES
from torch.autograd import gradcheck, gradgradcheck

from rsample.kernels.stream.compatibility import FILLS_ON_CPU

KEY = torch.tensor([20_26, 2**32 - 3], dtype=torch.uint64)
PATHWISE = [e for e in EXAMPLES if e.make(*e.values()).has_rsample]
HARD = [e for e in PATHWISE if e.family == "BernoulliStraightThrough"]
SMOOTH = [e for e in PATHWISE if e not in HARD]
# Gradients are those of the distribution function, beside which the sample moves by other ways.
IMPLICIT = [e for e in SMOOTH if getattr(e.law.noise, "slopes", None) is not None]
WITH_TWIN = [e for e in EXAMPLES if e.has_twin]

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=str)
every_pathwise = pytest.mark.parametrize("example", PATHWISE, ids=str)
every_smooth = pytest.mark.parametrize("example", SMOOTH, ids=str)


def leaves(example, shapes=None, dtype=torch.float64):
    """Parameters that want gradients: the last of shape (3, 4), the others (4,), or the given ones."""
    shapes = shapes or [*[(4,)] * (len(example.ranges) - 1), (3, 4)]
    tensors = [example.values(s, dtype, seed=i)[i] for i, s in enumerate(shapes)]
    return [t.requires_grad_() for t in tensors]


@pytest.mark.parametrize("example", WITH_TWIN, ids=str)
def test_classes_are_torchs(example):
    ours, theirs = example.make(*example.values((3,))), example.make_twin(*example.values((3,)))
    assert isinstance(ours, type(theirs)) or example.example.torch is not None
    # torch's LogitRelaxedBernoulli has an rsample, but says that it has not.
    assert ours.has_rsample == theirs.has_rsample or example.family == "LogitRelaxedBernoulli"
    assert ours.batch_shape == theirs.batch_shape
    assert str(ours.support) == str(theirs.support)
    x = ours.sample((5,), key=KEY)
    # The same formula, or one that is exact where torch's is not.
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=1e-9, atol=1e-9)


@every_example
def test_shapes_and_dtypes(example):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        d = example.make(*example.values((2, 1, 3), dtype))
        for sample_shape in ((), (4,), (0,), (2, 5)):
            x = d.sample(sample_shape, key=KEY)
            assert x.shape == (*sample_shape, 2, 1, 3)
            assert x.dtype == dtype
            assert x.is_contiguous()
            assert not x.requires_grad
            pair = d.sample_with_log_prob(sample_shape, key=KEY)
            assert torch.equal(pair[0], x)
            assert pair[1].shape == x.shape
            assert pair[1].dtype == dtype
            assert torch.isfinite(pair[1]).all()
            if d.has_rsample:
                assert torch.equal(d.rsample(sample_shape, key=KEY), x)
                assert torch.equal(d.rsample_with_log_prob(sample_shape, key=KEY)[0], x)
        assert d.support.check(d.sample((1000,), key=KEY)).all()
    assert example.make(*example.values((0, 3))).sample((2,)).shape == (2, 0, 3)


@every_example
def test_numbers_as_parameters(example):
    numbers = [v.item() for v in example.values()]
    d = example.make(*numbers)
    assert d.sample().shape == ()
    assert d.sample().dtype == torch.get_default_dtype()
    tensors = example.make(*(torch.tensor(v) for v in numbers))
    assert torch.equal(d.sample((9,), key=KEY), tensors.sample((9,), key=KEY))


@every_example
def test_expand_copy_and_pickle(example):
    params = leaves(example)
    d = example.make(*params)
    expanded = d.expand((2, 3, 4))
    assert type(expanded) is type(d)
    assert expanded.batch_shape == (2, 3, 4)
    drawn = expanded.sample((5,), key=KEY)
    assert torch.equal(drawn, d.sample((5, 2), key=KEY))
    assert torch.equal(expanded.expand((6, 2, 3, 4)).sample(key=KEY), d.sample((6, 2), key=KEY))
    expanded.sample_with_log_prob((5,), key=KEY)[1].sum().backward()
    assert all(p.grad.shape == p.shape for p in params)
    plain = example.make(*(p.detach() for p in params))
    for twin in (copy.copy(plain), copy.deepcopy(plain), pickle.loads(pickle.dumps(plain))):
        assert torch.equal(twin.sample((5,), key=KEY), d.sample((5,), key=KEY))


def derivatives(outputs, weights, params):
    """First derivatives of a weighted sum, and the derivatives of their squares' sum."""
    total = sum((o * w).sum() for o, w in zip(outputs, weights, strict=True))
    first = torch.autograd.grad(total, params, create_graph=True, materialize_grads=True)
    squares = sum((g * g).sum() for g in first)
    second = torch.autograd.grad(squares, params, materialize_grads=True) if squares.requires_grad else ()
    return [*first, *second]


def weights(n, shape):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(n)]


@every_example
def test_sample_with_log_prob_is_sample_and_log_prob(example):
    (w,) = weights(1, (5, *example.make(*leaves(example)).batch_shape))
    params = leaves(example)
    x, log_prob = example.make(*params).sample_with_log_prob((5,), key=KEY)
    assert not x.requires_grad
    ours = derivatives([log_prob], [w], params)
    params = leaves(example)
    d = example.make(*params)
    assert torch.equal(x, d.sample((5,), key=KEY))
    expected = d.log_prob(x)
    torch.testing.assert_close(log_prob, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours, derivatives([expected], [w], params), rtol=1e-7, atol=1e-7)


@every_pathwise
def test_rsample_with_log_prob_is_rsample_and_log_prob(example):
    w = weights(2, (5, *example.make(*leaves(example)).batch_shape))
    params = leaves(example)
    pair = example.make(*params).rsample_with_log_prob((5,), key=KEY)
    ours = derivatives(pair, w, params)
    params = leaves(example)
    d = example.make(*params)
    x = d.rsample((5,), key=KEY)
    if example in HARD:
        # What the straight-through sample is as a function of p.
        p = d.probs.expand(x.shape)
        x = x.detach() + (p - p.detach())
    expected = x, d.log_prob(x)
    torch.testing.assert_close(pair, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours, derivatives(expected, w, params), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("example", [e for e in SMOOTH if e not in IMPLICIT], ids=str)
def test_gradients_of_every_order_and_mode(example):
    params = leaves(example, [*[(2,)] * (len(example.ranges) - 1), (1, 2)])

    def draw(*params):
        return example.make(*params, validate_args=False).rsample((2,), key=KEY)

    def joint(*params):
        return example.make(*params, validate_args=False).rsample_with_log_prob((2,), key=KEY)

    for function in (draw, joint):
        assert gradcheck(function, params, check_forward_ad=True, check_batched_grad=True)
        assert gradgradcheck(function, params, atol=1e-4, rtol=1e-3)


@every_smooth
def test_gradients_are_those_of_a_quantile(example):
    """dx/dp = -(dF/dp) / f, with torch's F and f, or those of the class, which are held against scipy's."""
    make = example.make_twin if example.has_twin else example.make
    params = leaves(example)
    x = example.make(*params).rsample((5,), key=KEY)
    (w,) = weights(1, x.shape)
    ours = torch.autograd.grad((x * w).sum(), params)
    params = leaves(example)
    theirs = make(*params)
    fixed = x.detach()
    try:
        cdf = theirs.cdf(fixed)
    except NotImplementedError:
        pytest.skip(f"there is no cdf of {example.family}; gradcheck covers it")
    density = theirs.log_prob(fixed).exp().detach()
    expected = torch.autograd.grad((-cdf / density * w).sum(), params, materialize_grads=True)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("example", IMPLICIT, ids=str)
def test_second_derivatives_are_those_along_the_quantile(example):
    """Against central differences of -(dF/dp) / f on the path of a fixed probability; and forward mode."""
    params = leaves(example, [(6,)] * len(example.ranges))
    x = example.make(*params).rsample(key=KEY)
    first = torch.autograd.grad(x.sum(), params, create_graph=True)

    def slopes(x, values):
        given = [v.detach().requires_grad_() for v in values]
        d = example.make(*given)
        cdf = d.cdf(x.detach())
        return [-g / d.log_prob(x).exp().detach() for g in torch.autograd.grad(cdf.sum(), given)]

    step = 1e-5
    for i, grad in enumerate(first):
        seconds = torch.autograd.grad(grad.sum(), params, retain_graph=True)
        for j, second in enumerate(seconds):
            moved = [
                slopes(x + sign * step * first[j], [p + sign * step * (j == k) for k, p in enumerate(params)])[i]
                for sign in (1, -1)
            ]
            torch.testing.assert_close(second, (moved[0] - moved[1]) / (2 * step), rtol=1e-6, atol=1e-6)
    tangents = tuple(torch.linspace(0.5, 1.5, 6, dtype=torch.float64) + i for i in range(len(params)))
    values = tuple(p.detach() for p in params)
    _, pushed = torch.func.jvp(lambda *p: example.make(*p, validate_args=False).rsample(key=KEY), values, tangents)
    torch.testing.assert_close(pushed, sum(g.detach() * t for g, t in zip(first, tangents, strict=True)))


METHODS = ("log_prob", "cdf", "icdf", "mean", "variance", "entropy")


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.example.scipy is not None], ids=str)
def test_functions_are_scipys(example):
    numbers = {name: (low + high) / 2 + 0.1 for name, (low, high) in example.ranges.items()}
    d, law = (
        example.make(*(torch.tensor(v, dtype=torch.float64) for v in numbers.values())),
        example.scipy_law(**numbers),
    )
    x, level = d.sample((50,), key=KEY), torch.linspace(0.01, 0.99, 9, dtype=torch.float64)
    discrete = example.family in DISCRETE
    theirs = {"log_prob": law.logpmf if discrete else law.logpdf, "cdf": law.cdf, "icdf": law.ppf}
    theirs |= {"mean": law.mean, "variance": law.var, "entropy": law.entropy}
    arguments = {"log_prob": [x], "cdf": [x], "icdf": [level]}
    for method in METHODS:
        given = arguments.get(method, [])
        try:
            ours = getattr(d, method)
            ours = ours(*given) if callable(ours) else ours
        except NotImplementedError:
            continue
        expected = torch.as_tensor(theirs[method](*(g.numpy() for g in given)), dtype=torch.float64)
        torch.testing.assert_close(*(x.nan_to_num(math.inf, math.inf) for x in (ours, expected)), rtol=1e-9, atol=1e-9)


@every_example
def test_vmap_is_one_draw(example):
    params = [p.detach() for p in leaves(example, [(3, 2)] * len(example.ranges))]

    def joint(*params):
        d = example.make(*params, validate_args=False)
        return d.sample((5,), key=KEY), *d.sample_with_log_prob((5,), key=KEY)

    mapped = torch.func.vmap(joint, randomness="different")(*params)
    rows = example.make(*(p[:, None] for p in params)).expand((3, 5, 2))
    expected = rows.sample(key=KEY), *rows.sample_with_log_prob(key=KEY)
    torch.testing.assert_close(mapped, expected)
    same = torch.func.vmap(joint, randomness="same")(*params)
    each = [joint(*(p[i] for p in params)) for i in range(3)]
    torch.testing.assert_close(same, tuple(torch.stack(outputs) for outputs in zip(*each, strict=True)))


@every_pathwise
def test_gradients_inside_vmap(example):
    params = [p.detach() for p in leaves(example, [(3,)] * len(example.ranges))]
    arguments = tuple(range(len(params)))

    def loss(*params):
        x, log_prob = example.make(*params, validate_args=False).rsample_with_log_prob((4,), key=KEY)
        return (x * x + log_prob).sum()

    mapped = torch.func.vmap(torch.func.grad(loss, arguments), randomness="same")(*params)
    each = [torch.func.grad(loss, arguments)(*(p[i] for p in params)) for i in range(3)]
    torch.testing.assert_close(mapped, tuple(torch.stack(g) for g in zip(*each, strict=True)))


@pytest.mark.parametrize("example", [e for e in PATHWISE if e.law.density is not None], ids=str)
def test_only_key_parameters_and_outputs_are_kept_for_backward(example):
    params = leaves(example, [*[()] * (len(example.ranges) - 1), (3000,)], torch.float32)
    d = example.make(*params)
    given = {p.data_ptr() for p in d._draw_with()[1]}
    kept: list[torch.Tensor] = []
    for method in (d.rsample, d.rsample_with_log_prob):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            method((2,))
        assert all(t.numel() <= 2 or t.data_ptr() in given for t in kept)


@pytest.mark.parametrize(
    "example", [e for e in EXAMPLES if e.family in DISCRETE - {"BernoulliStraightThrough"}], ids=str
)
def test_discrete_draws_have_no_rsample(example):
    d = example.make(*example.values())
    for method in (d.rsample, d.rsample_with_log_prob):
        with pytest.raises(NotImplementedError, match=f"{example.family} has no reparameterised draw"):
            method()


def test_every_family_traces_in_one_graph():
    torch._dynamo.reset()
    params = [[p.float() for p in e.values((6,))] for e in EXAMPLES]

    def draws(params, key):
        out = []
        for example, values in zip(EXAMPLES, params, strict=True):
            d = example.make(*values, validate_args=False)
            out += [d.sample((2,), key=key), *([d.rsample(key=key)] if d.has_rsample else [])]
            # An older torch.compile traces no log_prob after a draw.
            if example.law.density is not None or FILLS_ON_CPU:
                out += d.sample_with_log_prob(key=key)
                out += d.rsample_with_log_prob(key=key) if d.has_rsample else ()
        return out

    compiled = torch.compile(draws, fullgraph=True, backend="aot_eager")
    for ours, eager in zip(compiled(params, KEY), draws(params, KEY), strict=True):
        assert torch.equal(ours, eager)
