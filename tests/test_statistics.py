"""Goodness of fit at fixed keys.

Every p-value is computed once for a key that is written here, so a test either always passes or always fails. The
threshold is 1e-5: the chance that a right sampler fails one of the fewer than 500 tests on the day a key or the stream
is changed is below 1 %.
"""

import numpy as np
import pytest
import torch
from examples import DISCRETE, EXAMPLES
from scipy import stats

import rsample.distributions as dist
from rsample.kernels import use_backend

N = 200_000
P_MIN = 1e-5
KEY = torch.tensor([2024, 1 << 40], dtype=torch.uint64)


@pytest.fixture(params=["reference", "compiled"])
def backend(request):
    with use_backend(request.param):
        yield


def drawn(d):
    return d.sample((N,), key=KEY).double().numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_fits(backend, dtype):
    x = drawn(dist.Normal(torch.tensor(3.0, dtype=dtype), torch.tensor(0.5, dtype=dtype)))
    assert stats.kstest(x, stats.norm(3.0, 0.5).cdf).pvalue > P_MIN
    # Beyond 3 sigma: a binomial count.
    tail = int((np.abs(x - 3.0) > 1.5).sum())
    assert stats.binomtest(tail, N, 2 * stats.norm.sf(3.0)).pvalue > P_MIN


def test_normal_moments(backend):
    x = drawn(dist.Normal(0.0, 1.0))
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        z = ((x**power).mean() - mean) / np.sqrt(variance / N)
        assert 2 * stats.norm.sf(abs(z)) > P_MIN, f"moment {power}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_fits(backend, dtype):
    x = drawn(dist.Uniform(torch.tensor(-1.0, dtype=dtype), torch.tensor(3.0, dtype=dtype)))
    assert stats.kstest(x, stats.uniform(-1.0, 4.0).cdf).pvalue > P_MIN


@pytest.mark.parametrize(("dtype", "bits"), [(torch.float16, 11), (torch.bfloat16, 8)])
def test_uniform_in_half_precision_is_uniform_on_its_grid(backend, dtype, bits):
    x = drawn(dist.Uniform(torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype)))
    counts = np.bincount((x * 2**bits).astype(int), minlength=2**bits)
    assert counts.sum() == N
    assert stats.chisquare(counts).pvalue > P_MIN


@pytest.mark.parametrize("p", [1e-4, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("from_logits", [False, True])
def test_bernoulli_frequency(backend, p, from_logits):
    d = dist.Bernoulli(logits=float(np.log(p / (1 - p)))) if from_logits else dist.Bernoulli(p)
    assert stats.binomtest(int(drawn(d).sum()), N, p).pvalue > P_MIN


def test_elements_of_one_block_and_neighbouring_blocks_are_uncorrelated(backend):
    x = drawn(dist.Normal(0.0, 1.0)).reshape(-1, 4)
    neighbours = np.hstack([x[:-1], x[1:]])
    correlation = np.corrcoef(neighbours.T)[np.triu_indices(8, 1)]
    # The sum of squared correlations times n is chi-squared with as many degrees of freedom; pairs within a block
    # appear twice (shifted by one block) and are counted once.
    distinct = np.concatenate([correlation[[0, 1, 2, 7, 8, 13]], np.corrcoef(neighbours.T)[:4, 4:].ravel()])
    statistic = (distinct**2).sum() * len(neighbours)
    assert stats.chi2.sf(statistic, len(distinct)) > P_MIN


def test_squares_within_a_pair_are_uncorrelated(backend):
    # cos^2 and sin^2 of one angle times one radius: independent only if the radius has its exact law.
    x = drawn(dist.Normal(0.0, 1.0)).reshape(-1, 2) ** 2
    assert stats.pearsonr(x[:, 0], x[:, 1]).pvalue > P_MIN


def test_streams_of_neighbouring_seeds_are_independent(backend):
    a, b = (
        dist.Uniform(0.0, 1.0).sample((N,), key=torch.tensor([seed, 0], dtype=torch.uint64)).numpy() for seed in (1, 2)
    )
    grid = np.histogram2d(a, b, bins=16)[0].ravel()
    assert stats.chisquare(grid).pvalue > P_MIN


def law_of(example):
    """The distribution with the middle of each range as its parameters, and its law."""
    numbers = {name: (low + high) / 2 + 0.1 for name, (low, high) in example.ranges.items()}
    return numbers, example.scipy_law(**numbers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.family not in DISCRETE], ids=str)
def test_continuous_families_fit(example, dtype, backend):
    numbers, law = law_of(example)
    x = drawn(example.make(*(torch.tensor(v, dtype=dtype) for v in numbers.values())))
    assert stats.kstest(x, law.cdf).pvalue > P_MIN
    # Beyond the quantiles of 1 in 2000 at both ends: binomial counts.
    u = law.cdf(x)
    for count in ((u < 5e-4).sum(), (u > 1 - 5e-4).sum()):
        assert stats.binomtest(int(count), N, 5e-4).pvalue > P_MIN


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.family in DISCRETE], ids=str)
def test_discrete_families_fit(example, backend):
    numbers, law = law_of(example)
    x = drawn(example.make(*(torch.tensor(v) for v in numbers.values())))
    most = int(law.ppf(1 - 1e-3))
    counts = np.bincount(np.minimum(x, most).astype(int), minlength=most + 1)
    expected = N * np.append(law.pmf(np.arange(most)), law.sf(most - 1))
    assert stats.chisquare(counts, expected * (N / expected.sum())).pvalue > P_MIN


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.family not in DISCRETE | {"Uniform"}], ids=str)
def test_halves_fit_up_to_rounding(example, dtype, backend):
    """Quantiles of the rounded sample: each lies between the law's own, moved by a rounding and six deviations."""
    numbers, law = law_of(example)
    values = [torch.tensor(v).to(dtype) for v in numbers.values()]
    law = example.scipy_law(**dict(zip(numbers, (v.item() for v in values), strict=True)))
    x = np.sort(drawn(example.make(*values)))
    eps = torch.finfo(dtype).eps
    for q in (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999):
        deviation = 6 * np.sqrt(q * (1 - q) / N)  # P(beyond) < 2e-9
        value = x[int(q * N)]
        around = np.clip(
            [value - abs(value) * eps - 1e-7, value + abs(value) * eps + 1e-7], example.lower, example.upper
        )
        low, high = law.cdf(around)
        assert low - deviation <= q <= high + deviation
