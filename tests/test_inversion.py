"""Several draws from each row: which draws go by inversion, that every backend draws the same, how exact it is."""

import numpy as np
import oracle
import pytest
import torch
from race_cases import check_inversions, weights
from scipy import stats

from rsample.distributions import Categorical, MixtureSameFamily, Multinomial, Normal, OneHotCategorical
from rsample.kernels import use_backend
from rsample.kernels.engines.cpu import rows as compiled
from rsample.kernels.engines.inversion import draws_by_inversion, running_sums, unit_bits
from rsample.kernels.stream.compatibility import fold_in

KEY = torch.tensor([20_26, 2**32 - 5], dtype=torch.uint64)
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@pytest.fixture(params=["reference", "compiled"])
def backend(request):
    if request.param == "compiled" and not compiled.available(torch.float32):
        pytest.skip("no C++ compiler")
    with use_backend(request.param):
        yield request.param


def uniform(key, n):
    """float64 of the 64 random bits of draws 0 .. n."""
    seed, offset = (int(x) % 2**64 for x in key.view(torch.int64))
    words = oracle.words(seed, offset, -(-n // 2)).astype(np.float64).reshape(-1, 2)[:n]
    return (words[:, 0] + words[:, 1] * 2.0**-32) * 2.0**-32


@pytest.mark.parametrize(
    ("given", "shape", "expected"),
    [
        ((5,), (5,), False),
        ((5,), (1, 5), False),
        ((5,), (2, 5), True),
        ((3, 5), (3, 5), False),
        ((3, 1, 5), (3, 4, 5), True),
        ((1, 5), (2, 5), True),
        ((0, 5), (4, 0, 5), False),
        ((10**6,), (2, 10**6), True),
    ],
)
def test_rows_that_are_drawn_from_more_than_once(given, shape, expected):
    assert draws_by_inversion(given, shape) == expected
    assert draws_by_inversion(torch.Size(given), list(shape)) == expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["logits", "probs"])
def test_backends_draw_the_same_to_the_last_one(name, dtype):
    if not compiled.available(dtype):
        pytest.skip("no C++ compiler")
    # One category, rows short and long, more rows than a table holds, draws within rows and around them.
    for given, batch in (
        ((1,), (3,)),
        ((2,), (700,)),
        ((300,), (7, 150)),
        ((900, 7), (3, 900)),
        ((40, 3000), (6, 40)),
        ((50, 1, 128), (2, 50, 6)),
        ((5, 1, 7, 16), (3, 5, 6, 7)),
        ((30_001,), (4,)),
        ((10, 5000), (2, 3, 10)),
    ):
        w = 3 * weights(given, torch.float64)
        w = (1e-3 * w.exp() if name == "probs" else w).to(dtype)
        distribution = Categorical(**{name: w}).expand(batch)
        samples = []
        for choice in ("reference", "compiled"):
            with use_backend(choice):
                samples.append(distribution.sample(key=KEY))
        assert torch.equal(*samples)
        check_inversions(samples[0], w, (*batch, given[-1]), from_probs=name == "probs", key=KEY)


def test_strides_of_every_kind(backend):
    base = weights((48, 40), torch.float32)
    for w in (base.t(), base[:, 1:], base[:, ::2], base[::2], base.t()[:, :5], base[:1, :1].expand(48, 40)):
        drawn = Categorical(logits=w).sample((20,), key=KEY)
        assert torch.equal(drawn, Categorical(logits=w.contiguous()).sample((20,), key=KEY))
        check_inversions(drawn, w, (20, *w.shape), key=KEY)


def test_the_number_of_threads_changes_no_bit():
    if not compiled.available(torch.float32):
        pytest.skip("no C++ compiler")
    threads, results = torch.get_num_threads(), []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            results.append(
                [
                    Categorical(logits=weights(shape, torch.float32)).sample((n,), key=KEY)
                    for shape, n in (((4,), 200_000), ((3000, 64), 4))
                ]
            )
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("from_probs", [False, True])
def test_weights_become_units_as_exactly_as_the_dtype_allows(dtype, from_probs):
    """Where a weight is many units: within roundings of the compute dtype; all: within a unit, and never of nothing."""
    k = 1000
    logits = -torch.linspace(0, 60, k, dtype=torch.float64)
    logits[7] = -torch.inf
    given = (logits.exp() if from_probs else logits).to(dtype)
    sums = running_sums(given, from_probs)
    units = torch.cat([sums[:1], sums.diff()]).double()
    exact = (given.double() if from_probs else given.double().exp()) * 2.0 ** unit_bits(k)
    eps = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps
    assert ((units - exact).abs() <= 1 + 4 * eps * exact).all()
    assert units[7] == 0
    assert units[0] == 2.0 ** unit_bits(k)


def test_more_categories_than_float32_counts(backend):
    k, n = 2**24 + 8, 6
    drawn = Categorical(probs=torch.ones(k), validate_args=False).sample((n,), key=KEY)
    assert torch.equal(drawn, torch.from_numpy(np.floor(uniform(KEY, n) * k)).long())


def test_rare_categories_among_common_ones(backend):
    """A thousand categories of probability 1e-6 each beside one: they come as often as they should, all alike."""
    n, probs = 2**20, torch.full((1001,), 1e-6)
    probs[500] = 0.999
    drawn = Categorical(probs).sample((n,), key=KEY)
    rare = torch.cat([drawn[drawn < 500], drawn[drawn > 500] - 1])
    assert stats.binomtest(len(rare), n, 1e-3).pvalue > 1e-4
    assert stats.kstest(rare.numpy() / 1000, "uniform").pvalue > 1e-4


def test_nothing_of_probability_0_is_drawn(backend):
    u = uniform(KEY, 4096)
    probs = torch.zeros(4096)
    probs[::2] = 1.0
    assert (Categorical(probs).sample((4096,), key=KEY) % 2 == 0).all()
    masked = torch.where(probs > 0, 0.0, -1e8)
    drawn = Categorical(logits=masked).sample((4096,), key=KEY)
    assert torch.equal(drawn, torch.from_numpy(2 * np.floor(u * 2048)).long())
    rows = torch.tensor([[-torch.inf] * 3, [torch.nan] * 3, [torch.nan, 1.0, -torch.inf], [0.0, torch.inf, 1.0]])
    drawn = Categorical(logits=rows, validate_args=False).sample((9,), key=KEY)
    assert torch.equal(drawn, torch.tensor([0, 0, 1, 1]).expand(9, 4))
    rows = torch.tensor([[0.0, 0.0], [-1.0, torch.nan], [torch.nan, 1e-45], [-2.0, 1e38]])
    drawn = Categorical(probs=rows, validate_args=False).sample((9,), key=KEY)
    assert torch.equal(drawn, torch.tensor([0, 0, 1, 1]).expand(9, 4))


def test_all_that_draws_categories_draws_these(backend):
    logits = weights((3, 6), torch.float32)
    drawn = Categorical(logits=logits).sample((50,), key=KEY)
    one_hot, log_prob = OneHotCategorical(logits=logits).sample_with_log_prob((50,), key=KEY)
    assert torch.equal(one_hot.argmax(-1), drawn)
    torch.testing.assert_close(log_prob, Categorical(logits=logits).log_prob(drawn))
    probs = logits.softmax(-1)
    counts = Multinomial(50, probs).sample(key=KEY)
    expected = Categorical(probs).sample((50,), key=KEY)
    assert torch.equal(counts, torch.nn.functional.one_hot(expected, 6).sum(0).float())
    assert torch.equal(
        Multinomial(50, probs[0]).expand((4,)).sample(key=KEY), Multinomial(50, probs[0]).sample((4,), key=KEY)
    )
    component = Normal(torch.arange(6.0).expand(3, 6), 1e-3)
    mixture = MixtureSameFamily(Categorical(logits=logits), component).sample((50,), key=KEY)
    of_mixture = Categorical(logits=logits).sample((50,), key=fold_in(KEY, 0))
    assert torch.equal(mixture.round().long(), of_mixture)


def test_long_rows_of_little(backend):
    rows = torch.full((4, 4000), -torch.inf)
    rows[1, 3999] = -7.0
    rows[2, 300] = 0.0
    rows[3] = torch.nan
    drawn = Categorical(logits=rows, validate_args=False).sample((3,), key=KEY)
    assert torch.equal(drawn, torch.tensor([0, 3999, 300, 0]).expand(3, 4))


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_empty_and_meta_draws(device, backend):
    if device == "meta" and backend == "compiled":
        pytest.skip("runs on the CPU")
    for family, event in ((Categorical, ()), (OneHotCategorical, (3,))):
        for given, n in (((0, 3), 4), ((3,), 0), ((2, 3), 4)):
            ours = family(logits=torch.zeros(given, device=device), validate_args=False)
            sample, log_prob = ours.sample_with_log_prob((n,), key=KEY)
            assert sample.shape == (n, *given[:-1], *event)
            assert log_prob.shape == (n, *given[:-1])
            assert sample.device.type == log_prob.device.type == device
