"""Relaxed one-hot distributions: values, densities and gradients against torch.distributions for the same noise."""

import copy
import pickle

import numpy as np
import pytest
import torch
from race_cases import exponential, weights
from scipy import stats
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical as TorchExpRelaxedCategorical

from rsample.distributions.categorical import Categorical
from rsample.distributions.relaxed_one_hot_categorical import ExpRelaxedCategorical, RelaxedOneHotCategorical
from rsample.kernels import use_backend
from rsample.kernels.engines.cpu import rows as compiled

KEY = torch.tensor([20_26, 2**32 - 5], dtype=torch.uint64)
FAMILIES = [ExpRelaxedCategorical, RelaxedOneHotCategorical]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
vmap = torch.func.vmap


@pytest.fixture(autouse=True)
def _validating(monkeypatch):
    """torch.compile turns validation off for the rest of the process."""
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)


def theirs(family):
    return (
        TorchExpRelaxedCategorical if family is ExpRelaxedCategorical else torch.distributions.RelaxedOneHotCategorical
    )


def temperature(dtype=torch.float64):
    return torch.tensor(0.7, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_values_and_densities(family, dtype, backend):
    if backend == "compiled" and not compiled.available(dtype):
        pytest.skip("no C++ compiler")
    eps = torch.finfo(dtype).eps
    for shape, given in (((37, 1), (37, 1)), ((50, 11), (50, 11)), ((9, 3, 64), (3, 64)), ((2, 20_001), (2, 20_001))):
        logits = weights(given, dtype)
        t = torch.tensor(0.75, dtype=dtype)
        with use_backend(backend):
            ours = family(t, logits=logits).expand(shape[:-1])
            value, log_prob = ours.sample_with_log_prob(key=KEY)
            assert torch.equal(value, ours.rsample(key=KEY))
        assert value.dtype == log_prob.dtype == dtype
        gumbel = torch.from_numpy(-np.log(exponential(KEY, value.numel(), dtype))).reshape(shape)
        x = ((logits.double() + gumbel) / 0.75).log_softmax(-1)
        expected = x if family is ExpRelaxedCategorical else x.exp()
        # Logarithm, sum, quotient and log_softmax round a winner's numbers of 16 to 32, by up to 16 eps each.
        torch.testing.assert_close(value.double(), expected, rtol=4 * eps, atol=64 * eps)
        density = theirs(family)(t.double(), logits=logits.double(), validate_args=False).log_prob(expected)
        # A sum over the row, of K terms of order 10, which in float64 torch rounds, too.
        density = density.to(dtype).double()  # float16 may overflow
        rounding = (10 if dtype == torch.float64 else 2) * eps * shape[-1]
        torch.testing.assert_close(log_prob.double(), density, rtol=4 * eps, atol=rounding)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["logits", "probs"])
@pytest.mark.parametrize("sample_shape", [(), (4,)])
def test_gradients_equal_torchs(family, name, sample_shape):
    param = weights((3, 5), torch.float64, from_probs=name == "probs").requires_grad_()
    t = temperature()
    ours, reference = family(t, **{name: param}), theirs(family)(t, **{name: param})
    x, log_prob = ours.sample_with_log_prob(sample_shape, key=KEY)
    assert not x.requires_grad
    weight = torch.linspace(0.5, 1.5, x.numel(), dtype=torch.float64).reshape(x.shape)
    torch.testing.assert_close(log_prob, reference.log_prob(x))
    score, expected = (
        torch.autograd.grad((value * weight[..., 0]).sum(), (param, t), retain_graph=True)
        for value in (log_prob, reference.log_prob(x))
    )
    torch.testing.assert_close(score, expected)

    y, log_prob = ours.rsample_with_log_prob(sample_shape, key=KEY)
    assert torch.equal(y, x)
    gumbel = torch.from_numpy(-np.log(exponential(KEY, x.numel(), torch.float64))).reshape(x.shape)
    plain = ((reference.logits + gumbel) / t).log_softmax(-1)
    plain = plain if family is ExpRelaxedCategorical else plain.exp()
    pathwise, expected = (
        torch.autograd.grad((value * weight).sum() + (density * weight[..., 0]).sum(), (param, t), retain_graph=True)
        for value, density in ((y, log_prob), (plain, reference.log_prob(plain)))
    )
    torch.testing.assert_close(pathwise, expected)

    def draw(p, t):
        return family(t, **{name: p}, validate_args=False).rsample_with_log_prob(sample_shape, key=KEY)

    assert gradcheck(draw, (param, t), check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    assert gradgradcheck(draw, (param, t))


@pytest.mark.parametrize("family", FAMILIES)
def test_second_derivatives_of_the_score(family):
    logits, t = weights((2, 4), torch.float64).requires_grad_(), temperature()
    x, ours = family(t, logits=logits).sample_with_log_prob(key=KEY)
    results = []
    for log_prob in (ours, theirs(family)(t, logits=logits).log_prob(x)):
        first = torch.autograd.grad(log_prob.square().sum(), (logits, t), create_graph=True)
        results.append(torch.autograd.grad(sum(g.square().sum() for g in first), (logits, t)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(1,), (3, 1), (2, 1, 1)])
def test_other_temperatures(family, shape):
    logits = weights((3, 5), torch.float64).requires_grad_()
    t = (torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5).requires_grad_()
    ours, reference = family(t, logits=logits), theirs(family)(t, logits=logits)
    x = ours.rsample((2,), key=KEY)
    assert x.shape == reference.rsample((2,)).shape
    y, log_prob = ours.sample_with_log_prob((2,), key=KEY)
    assert torch.equal(x, y)
    assert not y.requires_grad
    if shape == (1,):
        torch.testing.assert_close(log_prob, reference.log_prob(y))
        return
    # The first temperature's rows, drawn at that temperature alone; torch's log_prob broadcasts such ones wrongly.
    row, density = family(t.detach().reshape(-1)[0], logits=logits).sample_with_log_prob((2,), key=KEY)
    first = (slice(None), 0) if shape == (3, 1) else (0,)
    torch.testing.assert_close(x[first], row[first])
    torch.testing.assert_close(log_prob[first], density[first])
    assert torch.autograd.grad(log_prob.sum() + x.sum(), (logits, t))[1].isfinite().all()


def test_a_temperature_for_each_category_is_refused():
    with pytest.raises(NotImplementedError, match="temperature has shape"):
        ExpRelaxedCategorical(torch.ones(5), logits=torch.zeros(3, 5)).sample()


@pytest.mark.parametrize("family", FAMILIES)
def test_extremes(family):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e30, 0.0, 0.0]], requires_grad=True)
    for value in (1e-3, 1.0, 1e3):
        y, log_prob = family(torch.tensor(value), logits=logits).rsample_with_log_prob(key=KEY)
        assert y.isfinite().all()
        assert log_prob.isfinite().all()
        (grad,) = torch.autograd.grad(y.sum(), logits)
        assert grad.isfinite().all()


def test_the_largest_coordinate_is_the_categorys():
    logits = weights((200, 9), torch.float32)
    y = RelaxedOneHotCategorical(torch.tensor(0.3), logits=logits).sample(key=KEY)
    assert torch.equal(y.argmax(-1), Categorical(logits=logits).sample(key=KEY))


def test_coordinates_of_two_categories_are_logistic():
    """log y_0 - log y_1 is logistic with scale 1 / T; p > 1e-4 at a fixed key."""
    x = ExpRelaxedCategorical(torch.tensor(0.5), logits=torch.tensor([0.3, -0.2])).sample((2**15,), key=KEY)
    difference = (x[:, 0] - x[:, 1]).numpy() * 0.5 - 0.5
    assert stats.kstest(difference, "logistic").pvalue > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_else_is_torchs(family):
    logits, t = weights((3, 5), torch.float32), torch.tensor(0.5)
    ours, reference = family(t, logits=logits), theirs(family)(t, logits=logits)
    assert isinstance(ours, theirs(family))
    for attribute in ("probs", "logits", "temperature"):
        assert torch.equal(getattr(ours, attribute), getattr(reference, attribute))
    for attribute in ("batch_shape", "event_shape", "has_rsample", "support"):
        assert str(getattr(ours, attribute)) == str(getattr(reference, attribute))
    x = reference.sample()
    torch.testing.assert_close(ours.log_prob(x), reference.log_prob(x))
    sample = ours.sample(key=KEY)
    for same in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), ours.expand((3,)), family(0.5, logits=logits)):
        assert torch.equal(same.sample(key=KEY), sample)
    assert torch.equal(ours.expand((4, 3)).sample(key=KEY), ours.sample((4,), key=KEY))
    assert isinstance(ours.expand((4, 3)), family)
    with pytest.raises(ValueError, match="Expected parameter probs"):
        family(t, probs=torch.tensor([0.5, -0.5]))


@pytest.mark.parametrize("mapped", ["logits", "temperature", "both"])
@pytest.mark.parametrize("randomness", ["different", "same"])
def test_vmap_and_per_example_gradients(mapped, randomness):
    logits, t = weights((3, 5), torch.float64), torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    dims = (0 if mapped != "temperature" else None, 0 if mapped != "logits" else None)
    args = (logits if dims[0] == 0 else logits[0], t if dims[1] == 0 else t[0])

    def loss(logits, t):
        y, log_prob = RelaxedOneHotCategorical(t, logits=logits, validate_args=False).rsample_with_log_prob(
            (2,), key=KEY
        )
        return y.square().sum() + log_prob.sum()

    ours = vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=dims, randomness=randomness)(*args)
    full = [a.expand(3, *a.shape) if d is None else a for a, d in zip(args, dims, strict=True)]
    full = [a.clone().requires_grad_() for a in full]
    gumbel = torch.from_numpy(-np.log(exponential(KEY, 30, torch.float64))).reshape(3, 2, 5)
    if randomness == "same":
        gumbel = gumbel[:1]
    x = ((full[0][:, None] + gumbel) / full[1][:, None, None]).log_softmax(-1)
    log_prob = torch.stack(
        [
            torch.distributions.RelaxedOneHotCategorical(full[1][i], logits=full[0][i], validate_args=False).log_prob(
                x[i].exp()
            )
            for i in range(3)
        ]
    )
    torch.testing.assert_close(ours, torch.autograd.grad(x.exp().square().sum() + log_prob.sum(), full))


def draws(logits, t, key=None):
    ours = RelaxedOneHotCategorical(t, logits=logits, validate_args=False)
    return (ours.sample(key=key), ours.rsample((2,), key=key), *ours.sample_with_log_prob(key=key))


def test_compiled_draws_equal_eager_ones():
    torch._dynamo.reset()
    logits, t = weights((4, 7), torch.float32).requires_grad_(), temperature(torch.float32)
    results = []
    for function in (draws, torch.compile(draws, fullgraph=True)):
        outputs = function(logits, t, KEY)
        assert [o.requires_grad for o in outputs] == [False, True, False, True]
        loss = (outputs[1] * torch.arange(7.0)).sum() + outputs[3].sum()
        results.append((*outputs, *torch.autograd.grad(loss, (logits, t))))
    for compiled_result, eager in zip(*results, strict=True):
        torch.testing.assert_close(compiled_result, eager, rtol=1e-4, atol=1e-5)


def test_tracing_on_fake_cuda_tensors():
    with FakeTensorMode(allow_non_fake_inputs=True):
        logits, t = torch.empty(4, 7, device="cuda"), torch.ones((), device="cuda")
        assert all(sample.device.type == "cuda" for sample in draws(logits, t))


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("options", [(False, False, True), (True, True, False), (True, True, True)])
def test_opcheck(requires_grad, options):
    logits = weights((3, 1, 4), torch.float32).requires_grad_(requires_grad)
    t = torch.tensor(0.5, requires_grad=requires_grad)
    torch.library.opcheck(torch.ops.rsample.relaxed_categorical.default, ([KEY], logits, t, (2, 3, 5, 4), *options))
