"""Integer and bool parameters beside floating-point ones."""

import pytest
import torch
import torch.distributions as td

import rsample.distributions as dist

KEY = torch.tensor([20_26, 19], dtype=torch.uint64)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("exact", [torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("cls", [dist.Normal, dist.Laplace, dist.Gamma, dist.Weibull])
def test_integers_take_the_others_dtype(cls, exact, dtype):
    first = torch.tensor([0.5, 1.5], dtype=dtype, requires_grad=True)
    d = cls(first, torch.ones(2, dtype=exact), validate_args=False)
    x = d.rsample((3,), key=KEY)
    assert x.dtype == dtype
    expected = cls(first, torch.ones(2, dtype=dtype)).rsample((3,), key=KEY)
    assert torch.equal(x, expected)
    torch.testing.assert_close(*(torch.autograd.grad(y.sum(), first)[0] for y in (x, expected)))


def test_integers_alone_raise_as_in_torch():
    for library in (dist, td):
        d = library.Normal(torch.zeros(2, dtype=torch.int64), torch.ones(2, dtype=torch.int64))
        with pytest.raises((TypeError, RuntimeError)):
            d.sample()


@pytest.mark.parametrize("cls", ["Chi2", "FisherSnedecor", "Categorical", "OneHotCategorical"])
def test_integers_alone_draw_where_torch_draws(cls):
    given = (torch.tensor([1, 3]),) * (2 if cls == "FisherSnedecor" else 1)
    ours, torchs = (getattr(library, cls)(*given).sample() for library in (dist, td))
    assert (ours.shape, ours.dtype) == (torchs.shape, torchs.dtype)
    expected = getattr(dist, cls)(*(p.float() for p in given))
    assert torch.equal(getattr(dist, cls)(*given).sample(key=KEY), expected.sample(key=KEY))


@pytest.mark.parametrize("total_count", [3, torch.tensor(3), torch.tensor(3.0), torch.tensor([3, 4])], ids=str)
@pytest.mark.parametrize("cls", ["Binomial", "NegativeBinomial"])
def test_numbers_of_trials(cls, total_count):
    probs = torch.full((2,), 0.5)
    ours, torchs = (getattr(library, cls)(total_count, probs).sample() for library in (dist, td))
    assert (ours.shape, ours.dtype) == (torchs.shape, torchs.dtype)
