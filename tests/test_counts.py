"""Draws that count: their laws against SciPy's, the compiled backend against the reference, and the parameters' ends.

Keys are fixed: a goodness of fit that passes once passes always. Of the about 150 here a p-value below 1e-4 would be
seen once in some seventy choices of the key.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from rsample.distributions import Binomial, Multinomial, NegativeBinomial, Poisson
from rsample.kernels import use_backend
from rsample.kernels.laws.rejection.binomial import binomial_hat, binomial_mass
from rsample.kernels.laws.rejection.poisson import poisson_hat, poisson_mass

KEY = torch.tensor([2024, 7], dtype=torch.uint64)
LEAST_P = 1e-4
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
RATES = [1e-3, 0.5, 9.9, 10.1, 100.0, 1e4, 1e6]
TRIALS = [1, 20, 1000, 1_000_000]
CHANCES = [1e-3, 0.3, 0.5, 0.999]


def exact(x):
    """The number that float32 makes of x."""
    return torch.tensor(x, dtype=torch.float32).double().item()


def fit(x, law):
    """The p-value of Pearson's chi-squared test, with at least 20 counts expected in a cell."""
    x, n = x.double().numpy(), x.numel()
    ends = np.unique(np.concatenate([law.ppf(np.linspace(0, 1, 200)[1:-1]), law.ppf([20 / n, 1 - 20 / n])]))
    expected = np.diff(np.concatenate([[0.0], law.cdf(ends), [1.0]])) * n
    observed = np.diff(np.concatenate([[0], np.searchsorted(np.sort(x), ends, side="right"), [n]]))
    cells = [[0.0, 0.0]]
    for o, e in zip(observed, expected, strict=True):
        if cells[-1][1] >= 20:
            cells.append([0.0, 0.0])
        cells[-1][0] += o
        cells[-1][1] += e
    if len(cells) > 1 and cells[-1][1] < 20:
        last = cells.pop()
        cells[-1] = [a + b for a, b in zip(cells[-1], last, strict=True)]
    if len(cells) == 1:
        # Nearly all at one value: what else there is, is Poisson.
        rare = (x != law.median()).sum()
        mean = n * (1 - law.pmf(law.median()))
        return min(1.0, 2 * min(stats.poisson.cdf(rare, mean), stats.poisson.sf(rare - 1, mean)))
    observed, expected = np.array(cells).T
    return stats.chi2.sf(((observed - expected) ** 2 / expected).sum(), len(cells) - 1)


def check(distribution, law, dtype):
    """The law of 10,000 reference and of 300,000 compiled samples, which begin with the same ones."""
    with use_backend("reference"):
        few = distribution.sample((10_000,), key=KEY)
    with use_backend("compiled"):
        many = distribution.sample((300_000,), key=KEY)
    assert few.dtype == many.dtype == dtype
    assert (few == few.round()).all()
    # Only a number within rounding of its threshold decides otherwise; next to 1e6 float32 counts in sixteenths.
    assert (few != many[:10_000]).double().mean() < (1e-9 if dtype == torch.float64 else 1e-3)
    assert fit(few, law) > LEAST_P
    assert fit(many, law) > LEAST_P


def likely(law, width=9):
    """The counts within some standard deviations."""
    low, high = law.support()
    ends = (law.mean() - width * law.std() - 9, law.mean() + width * law.std() + 9)
    return torch.arange(max(low, math.floor(ends[0])), min(high, math.ceil(ends[1])) + 1, dtype=torch.float64)


@pytest.mark.parametrize("mean", [10.0, 10.9, 12.4, 27.6, 300.5, 1e4])
def test_masses_are_exact_and_below_their_bounds(mean):
    rate = torch.tensor(mean, dtype=torch.float64)
    laws = [(stats.poisson(mean), poisson_hat, poisson_mass, (rate,))]
    for p in (0.5, 0.43, 0.2, 0.01):
        n = torch.ceil(rate / p)
        law = (n, n * p, torch.tensor(p, dtype=torch.float64))
        laws.append((stats.binom(n.item(), p), binomial_hat, binomial_mass, law))
    for law, hat, mass, parameters in laws:
        k = likely(law)
        exact_mass = torch.from_numpy(law.pmf(k.numpy())) * (2 * math.pi) ** 0.5
        torch.testing.assert_close(mass(k, *parameters), exact_mass, rtol=2e-9, atol=0)
        narrow = [x.float() for x in parameters]
        if all((x.double() == y).all() for x, y in zip(narrow, parameters, strict=True)):
            torch.testing.assert_close(mass(k.float(), *narrow).double(), exact_mass, rtol=5e-5, atol=1e-30)
        # Acceptance probabilities are at most 1, wherever a candidate may fall.
        center, a, b, bound = hat(*parameters)
        s = torch.logspace(-9, 0, 100_001, dtype=torch.float64) / 2
        for sign in (-1, 1):
            candidates = torch.floor(sign * (2 * a / s + b) * (0.5 - s) + center)
            assert ((a / s**2 + b) * mass(candidates, *parameters) / bound).max() < 1
    nowhere = torch.tensor([-1.0, -1e9])
    assert (poisson_mass(nowhere, torch.tensor(20.0)) == 0).all()
    n, mean, p = torch.tensor(40.0), torch.tensor(20.0), torch.tensor(0.5)
    assert (binomial_mass(torch.tensor([-1.0, 41.0, 1e9]), n, mean, p) == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rate", RATES)
def test_poisson(rate, dtype):
    check(Poisson(torch.tensor(exact(rate), dtype=dtype)), stats.poisson(exact(rate)), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("probs", CHANCES)
@pytest.mark.parametrize("trials", TRIALS)
def test_binomial(trials, probs, dtype):
    law = stats.binom(trials, exact(probs))
    check(Binomial(trials, torch.tensor(exact(probs), dtype=dtype)), law, dtype)
    if dtype == torch.float32:
        check(Binomial(trials, logits=torch.tensor(exact(probs), dtype=dtype).logit()), law, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("probs", [1e-3, 0.5, 0.95])
@pytest.mark.parametrize("failures", [0.1, 5.0, 100.0])
def test_negative_binomial(failures, probs, dtype):
    law = stats.nbinom(exact(failures), 1 - exact(probs))
    r, p = (torch.tensor(exact(x), dtype=dtype) for x in (failures, probs))
    check(NegativeBinomial(r, p), law, dtype)
    if dtype == torch.float32:
        check(NegativeBinomial(r, logits=p.logit()), law, dtype)


def test_multinomial():
    probs = torch.tensor([0.1, 0.0, 0.4, 0.5])
    x = Multinomial(30, probs).sample((20_000, 3), key=KEY)
    assert x.shape == (20_000, 3, 4)
    assert x.dtype == probs.dtype
    assert (x.sum(-1) == 30).all()
    for k in (0, 2, 3):
        assert fit(x[..., k].flatten(), stats.binom(30, exact(probs[k].item()))) > LEAST_P
    assert (x[..., 1] == 0).all()
    logits = Multinomial(5, logits=torch.randn(2, 3)).expand((4, 2))
    assert logits.sample((6,), generator=torch.Generator().manual_seed(1)).shape == (6, 4, 2, 3)


def test_multinomial_without_rows_and_of_numbers_of_any_kind():
    for empty in (Multinomial(3, torch.ones(0, 3)), Multinomial(3, torch.ones(3)).expand((0,))):
        assert empty.sample().shape == (0, 3)
        assert empty.expand((2, 0)).sample((4,)).shape == (4, 2, 0, 3)
        assert empty.log_prob(empty.sample((4,))).shape == (4, 0)
    for total in (3, np.int64(3), np.uint8(3), torch.tensor(3), torch.tensor(3, dtype=torch.int16)):
        d = Multinomial(total, torch.ones(2, 4))
        assert type(d.total_count) is int
        assert (d.sample((9,), key=KEY).sum(-1) == 3).all()
        torch.testing.assert_close(d.entropy(), torch.distributions.Multinomial(3, torch.ones(2, 4)).entropy())
    for total in (
        3.0,
        np.float64(3),
        torch.tensor(3.0),
        torch.tensor([3]),
        torch.tensor([3, 4]),
        np.array([3, 4]),
        "3",
    ):
        with pytest.raises(NotImplementedError, match="total_count"):
            Multinomial(total, torch.ones(2, 4))


@pytest.mark.parametrize("row", [[torch.nan, 1.0, 1.0], [1.0, 1.0, torch.nan], [torch.inf, 1.0, 1.0], [0.0, 0.0, 0.0]])
def test_multinomial_rows_without_a_law_stay_within_bounds(row):
    d = Multinomial(7, torch.tensor([row, [1.0, 2.0, 0.0]]), validate_args=False)
    x = d.sample((50,), key=KEY)
    assert torch.equal(x[:, 0], torch.tensor([7.0, 0.0, 0.0]).expand(50, 3))
    assert (x[:, 1].sum(-1) == 7).all()
    assert (x[:, 1, 2] == 0).all()


def test_large_counts_are_rounded():
    # The spacing of float32 numbers there is a fifteenth of the standard deviation, 1e6: counts are spread over it.
    x = Poisson(torch.tensor(1e12)).sample((100_000,), key=KEY).double().numpy()
    x += (np.random.default_rng(1).random(x.size) - 0.5) * 2.0**16
    assert stats.kstest((x - exact(1e12)) / 1e6, "norm").pvalue > LEAST_P
    n = torch.tensor(1e12, dtype=torch.float64)
    x = Binomial(n, torch.tensor(0.25, dtype=torch.float64)).sample((100_000,), key=KEY)
    assert stats.kstest((x.numpy() - 2.5e11) / (1e12 * 0.1875) ** 0.5, "norm").pvalue > LEAST_P
    assert Poisson(torch.tensor([1e20, 3e38])).sample((1000,), key=KEY).isfinite().all()


def families(dtype):
    """Distributions whose draws are of several kinds, with the number of elements that tell them apart."""
    chances, logits = torch.tensor([0.2, 0.9], dtype=dtype), torch.tensor([-1.0, 2.0], dtype=dtype)
    return [
        Poisson(torch.tensor([0.7, 40.0], dtype=dtype)),
        Binomial(torch.tensor([4, 60]), chances),
        Binomial(50, logits=logits),
        NegativeBinomial(torch.tensor([0.5, 8.0]), chances),
        NegativeBinomial(3, logits=logits),
        Multinomial(6, torch.ones(2, 3, dtype=dtype)),
    ]


names = ["poisson", "binomial", "binomial_logits", "negative_binomial", "negative_binomial_logits", "multinomial"]
each_family = pytest.mark.parametrize("number", range(len(names)), ids=names)


@pytest.mark.parametrize("dtype", DTYPES)
@each_family
def test_dtypes_and_log_prob(number, dtype):
    d = families(dtype)[number]
    x, log_prob = d.sample_with_log_prob((50,), key=KEY)
    assert x.dtype == dtype
    assert torch.equal(x, d.sample((50,), key=KEY))
    assert not x.requires_grad
    assert d.support.check(x).all()
    torch.testing.assert_close(log_prob, d.log_prob(x), rtol=0, atol=0)
    assert not d.has_rsample
    with pytest.raises(NotImplementedError, match="reparameterised"):
        d.rsample()


@each_family
def test_log_prob_has_the_score(number):
    d = families(torch.float64)[number]
    name = next(n for n in ("rate", "logits", "probs") if n in d.__dict__ or n == "probs")
    if isinstance(d, Multinomial):
        weights = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
        d = Multinomial(6, weights)
    else:
        given = getattr(d, name)
        weights = given.clone().requires_grad_()
        others = {} if name == "rate" else {"total_count": d.total_count}
        d = type(d)(**others, **{name: weights})
    x, log_prob = d.sample_with_log_prob((5,), key=KEY)
    assert not x.requires_grad
    (ours,) = torch.autograd.grad(log_prob.sum(), weights, retain_graph=True)
    (expected,) = torch.autograd.grad(d.log_prob(x).sum(), weights)
    assert torch.equal(ours, expected)


def test_ends_of_the_parameters_range():
    one = torch.ones(300)
    for backend in ("reference", "compiled"):
        with use_backend(backend):
            assert (Poisson(0 * one).sample() == 0).all()
            assert (Binomial(9, 0 * one).sample() == 0).all()
            assert (Binomial(9, one).sample() == 9).all()
            assert (Binomial(0, 0.5 * one).sample() == 0).all()
            assert (Binomial(9, logits=200 * one).sample() == 9).all()
            assert (NegativeBinomial(0, 0.5 * one).sample() == 0).all()
            assert (NegativeBinomial(3, 0 * one).sample() == 0).all()
            nan = one * float("nan")
            for d in (
                Poisson(nan, validate_args=False),
                Binomial(5, nan, validate_args=False),
                Binomial(nan, one * 0.5, validate_args=False),
                NegativeBinomial(5, nan, validate_args=False),
                NegativeBinomial(nan, one * 0.5, validate_args=False),
            ):
                assert d.sample().isnan().all()
            # Invalid, but no reason to go on forever.
            Poisson(-one, validate_args=False).sample()
            Binomial(-3.5 * one, 2 * one, validate_args=False).sample()
            NegativeBinomial(-one, 2 * one, validate_args=False).sample()


@each_family
def test_compiles_and_maps(number):
    d = families(torch.float32)[number]
    parameters = [v for _, v in d._given.values()] if hasattr(d, "_given") else [d.probs]
    keywords = list(d._given) if hasattr(d, "_given") else ["probs"]
    extra = {"total_count": 6} if isinstance(d, Multinomial) else {}

    def draw(key, *params):
        made = type(d)(**extra, **dict(zip(keywords, params, strict=True)), validate_args=False)
        return made.sample((7,), key=key)

    eager = draw(KEY, *parameters)
    assert torch.equal(torch.compile(draw, fullgraph=True)(KEY, *parameters), eager)

    def sample(*params):
        made = type(d)(**extra, **dict(zip(keywords, params, strict=True)), validate_args=False)
        return made.sample((7,))

    shape = eager.shape
    batched = [p.expand(3, *p.shape) for p in parameters]
    mapped = torch.func.vmap(sample, randomness="different")(*batched)
    assert mapped.shape == (3, *shape)
    assert not torch.equal(mapped[0], mapped[1])
    same = torch.func.vmap(sample, randomness="same")(*batched)
    assert torch.equal(same[0], same[1])


def test_rejects_what_torch_rejects():
    # torch.compile turns validation off by default, for the life of the process.
    with pytest.raises(ValueError, match="rate"):
        Poisson(torch.tensor(-1.0), validate_args=True)
    with pytest.raises(ValueError, match="probs"):
        Binomial(3, torch.tensor(1.5), validate_args=True)
    with pytest.raises(ValueError, match="total_count"):
        NegativeBinomial(-1, torch.tensor(0.5), validate_args=True)
    with pytest.raises(RuntimeError, match=r"total_count of shape \(3,\)"):
        Binomial(torch.ones(3), torch.rand(2))
    with pytest.raises(NotImplementedError, match="total_count"):
        Multinomial(torch.tensor([3]), torch.ones(2))
