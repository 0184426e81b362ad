"""The kernels of draws over rows against the reference and a float64 oracle."""

import pytest
import torch
from kernel_cases import packed
from race_cases import check_winners, weights

from rsample.kernels.engines.eager import rows as reference
from rsample.kernels.engines.row_layout import describe_rows
from rsample.kernels.engines.triton import launch, race, relaxed
from rsample.kernels.engines.triton.exponential_clocks import race_time
from rsample.kernels.engines.triton.row_tiles import RowConfig
from rsample.kernels.runtime.language import tl, triton

pytestmark = pytest.mark.kernel

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
PLAIN = {"from_probs": False, "one_hot": False, "log_prob": False}


def index_of(w, shape, key=None, config=None, **options):
    return race.race((packed() if key is None else key,), w, shape, config=config, **{**PLAIN, **options})[0]


def check(w, shape, *, from_probs=False, key=None):
    """The index, the one-hot sample and both log-probabilities of one draw."""
    key = packed() if key is None else key
    index, log_prob = race.race((key,), w, shape, from_probs=from_probs, one_hot=False, log_prob=True)
    assert index.dtype == torch.int64
    assert log_prob.dtype == w.dtype
    check_winners(index, w, shape, from_probs=from_probs, key=key)
    (one_hot,) = race.race((key,), w, shape, from_probs=from_probs, one_hot=True, log_prob=False)
    assert one_hot.dtype == w.dtype
    assert torch.equal(one_hot, torch.nn.functional.one_hot(index, shape[-1]).to(w.dtype))
    given = w.cpu().to(torch.float64)
    expected = reference.log_prob_of(index.cpu(), given, from_probs, w.dtype)
    eps = torch.finfo(w.dtype).eps
    torch.testing.assert_close(log_prob.cpu().double(), expected, rtol=2 * eps, atol=max(2 * eps, 1e-14))
    return index


# A row is a warp's or less, or of many tiles, of which the second row's go through the hot loop; odd and even.
@pytest.mark.parametrize(
    ("shape", "dtype", "from_probs"),
    [
        ((37, 1), torch.float32, False),
        ((5, 10), torch.bfloat16, True),
        ((3, 128), torch.float32, True),
        ((3, 128), torch.float16, False),
        ((2, 257), torch.float64, False),
        ((2, 6007), torch.float32, False),
        ((2, 6016), torch.float32, True),
        ((2, 6007), torch.bfloat16, False),
        ((2, 6016), torch.float64, False),
    ],
)
def test_rows_of_every_length_and_dtype(shape, dtype, from_probs, device):
    check(weights(shape, dtype, device, from_probs=from_probs), shape, from_probs=from_probs)


@pytest.mark.parametrize(
    ("make", "shape", "aligned"),
    [
        (lambda w: w(11), (3, 4, 11), False),
        (lambda w: w(4, 1, 16), (4, 5, 16), True),
        (lambda w: w(3, 1, 11), (2, 3, 4, 11), False),
        (lambda w: w(48, 5).t(), (5, 48), False),
        (lambda w: w(5, 49)[:, 1:], (5, 48), False),
        (lambda w: w(5 * 48 + 1)[1:].reshape(5, 48), (5, 48), False),
        (lambda w: w(5, 96)[:, ::2], (5, 48), False),
        (lambda w: w(3, 6, 16)[:, ::2], (3, 3, 16), True),
        (lambda w: w(1, 1).expand(5, 48), (5, 48), False),
        (lambda w: w(4100), (2, 4100), True),
        (lambda w: w(2, 8200)[:, ::2], (2, 4100), False),
        (lambda w: w(23), (23,), True),
    ],
)
def test_every_layout(make, shape, aligned, device):
    w = make(lambda *s: weights(s, torch.float32, device))
    assert describe_rows(shape, w, 4).aligned == aligned
    check_winners(index_of(w, shape), w, shape)


def test_halves_in_groups_of_eight(device):
    w = weights((4, 1, 12), torch.bfloat16, device)
    assert not describe_rows((4, 5, 12), w, 8).aligned
    check_winners(index_of(w, (4, 5, 12)), w, (4, 5, 12))


def test_64_bit_indices(device, monkeypatch):
    monkeypatch.setattr("rsample.kernels.engines.row_layout.INT31", 1)
    w = weights((3, 1, 11), torch.float32, device)
    assert describe_rows((3, 4, 11), w, 4).wide
    check_winners(index_of(w, (3, 4, 11)), w, (3, 4, 11))


def test_more_than_2_to_the_31_elements(device, runner):
    """Rows of one weight each, broadcast to more elements than 32 bits count; only the last ones are looked at."""
    if runner != "cuda":
        pytest.skip("takes a GPU's time and memory")
    rows, k = 2**20 + 3, 2**11 + 1
    w = weights((k,), torch.float32, device)
    index = index_of(w, (rows, k))
    start = (rows - 8) * k
    key = packed()
    assert start % 4 == 0
    later = torch.tensor([int(key[0]), int(key[1]) + start // 4], dtype=torch.uint64)
    check_winners(index[-8:], w, (8, k), key=later)


@pytest.mark.parametrize(("k", "dtype"), [(3001, torch.float32), (4096, torch.bfloat16)])
def test_the_winner_does_not_depend_on_how_a_row_is_split(k, dtype, device):
    group = launch.group_size(dtype)
    w = weights((2, k), dtype, device)
    tiles = -(-(k + group - 1) // (128 * group))
    configs = [
        RowConfig(128, 128, 2, tiles, 1),
        RowConfig(128, 128, 2, 2, -(-tiles // 2)),
        RowConfig(128, 32, 2, 4 * tiles, 1),
    ]
    index, *others = (index_of(w, (2, k), config=c) for c in configs)
    assert all(torch.equal(index, other) for other in others)
    check_winners(index, w, (2, k))
    results = [
        race.race((packed(),), w, (2, k), config=c, from_probs=False, one_hot=True, log_prob=True) for c in configs[:2]
    ]
    for one_hot, log_prob in results:
        assert torch.equal(one_hot.argmax(-1), index)
        assert torch.equal(one_hot.sum(-1), torch.ones(2, dtype=dtype, device=device))
        torch.testing.assert_close(log_prob, results[0][1])
    for config in configs[:2]:
        ours = relaxed.relaxed(
            (packed(),), w, w.new_tensor(0.5), (2, k), exponentiated=True, log_prob=True, config=config
        )
        expected = reference.relaxed(
            packed(), w.cpu(), w.cpu().new_tensor(0.5), (2, k), exponentiated=True, log_prob=True
        )
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a.cpu(), b, rtol=4 * torch.finfo(dtype).eps + 1e-5, atol=1e-5)


def test_ties_go_to_the_lowest_index(device):
    """Where a logit is so large that no noise shows, the first of the equal largest wins, wherever its lane."""
    k = 6000
    for first in (5, 1500):
        w = torch.zeros(2, k, device=device)
        w[:, first::601] = 1e12
        for config in (None, RowConfig(128, 128, 2, 12, 1), RowConfig(128, 32, 2, 48, 1)):
            assert index_of(w, (2, k), config=config).tolist() == [first, first]


@pytest.mark.parametrize("k", [13, 3000])
def test_extreme_weights(k, device):
    w = torch.full((6, k), -1e4, device=device)
    w[:, 2:] -= torch.arange(k - 2, device=device)  # alternatives are out of reach
    w[1] = -torch.inf
    w[1, k - 1] = -2e38
    w[2] = -torch.inf
    w[3] = torch.nan
    w[3, 4] = -1e4
    w[4] = torch.nan
    w[5, k - 2] = 3e38
    index = index_of(w, (6, k)).tolist()
    assert index[0] in (0, 1)
    assert index[1:] == [k - 1, 0, 4, 0, k - 2]
    p = torch.zeros(3, k, device=device)
    p[0, 7] = 1e-37
    p[1, 3] = 1e30
    p[1, 5] = 1e-30
    assert index_of(p, (3, k), from_probs=True).tolist() == [7, 3, 0]


@pytest.mark.parametrize(("seed", "offset"), [(0, 2**32 - 1502), (2**64 - 1, 2**64 - 3)])
def test_any_64_bit_seed_and_offset(seed, offset, device):
    w = weights((2, 6016), torch.float32, device)
    check_winners(index_of(w, (2, 6016), packed(seed, offset)), w, (2, 6016), key=packed(seed, offset))


def test_a_key_in_device_memory_draws_the_same(device, monkeypatch):
    w = weights((3, 300), torch.float32, device)
    expected = index_of(w, (3, 300))
    relaxed_options = {"exponentiated": True, "log_prob": False}
    (point,) = relaxed.relaxed((packed(),), w, w.new_tensor(1.0), (3, 300), **relaxed_options)
    monkeypatch.setattr(launch, "on_device", lambda tensor: True)
    key = packed().to(device)
    assert torch.equal(index_of(w, (3, 300), key), expected)
    assert torch.equal(relaxed.relaxed((key,), w, w.new_tensor(1.0), (3, 300), **relaxed_options)[0], point)


def test_nothing_is_launched_for_an_empty_draw(device, monkeypatch):
    monkeypatch.setattr(race, "race_kernel", None)
    w = torch.zeros(0, 3, device=device)
    assert index_of(w, (4, 0, 3)).shape == (4, 0)
    options = {"exponentiated": True, "log_prob": True}
    sample, log_prob = relaxed.relaxed((packed(),), w, torch.ones((), device=device), (4, 0, 3), **options)
    assert (sample.shape, log_prob.shape) == ((4, 0, 3), (4, 0))


def test_full_tiles_of_an_odd_row_are_read_16_bytes_at_a_time(device, runner):
    if runner != "emulator":
        pytest.skip("only the emulator counts accesses")
    import gpu_emulator

    k = 6007
    w = weights((1, k), torch.float32, device)
    with gpu_emulator.activate(memory_stats=True):
        index_of(w, (1, k), packed(1, 1), RowConfig(128, 128, 2, 12, 1))
        record = gpu_emulator.last_launch()
    # 10 of 12 tiles are in hot passes; the winner's pass is read again, one element at a time.
    assert record.load_vectors[4] == 10 * 128


@triton.jit
def time_kernel(out_ptr, words_ptr, HARDWARE: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    w = tl.load(words_ptr + i).to(tl.uint32)
    tl.store(out_ptr + i, race_time(w, w, w, w, tl.float32, HARDWARE)[0])


def test_the_noise_is_exact_at_both_ends(device):
    ends = torch.cat([torch.arange(512), 2**31 - 256 + torch.arange(512), 2**32 - 512 + torch.arange(512)])
    series = (2**32 * torch.linspace(0.99, 1.0, 512, dtype=torch.float64)).long() - 1
    words = torch.cat([ends, series])
    out = torch.full((2048,), torch.nan, device=device)
    time_kernel[(1,)](out, words.to(device), launch.hardware(), 2048, enable_fp_fusion=False)
    t = ((words ^ 2**31) - 2**31).double() * 2.0**-32 + 2.0**-33
    expected = torch.where(t > 0, -t.log(), -t.log1p()) / torch.log(torch.tensor(2.0, dtype=torch.float64))
    error = ((out.cpu().double() - expected) / expected).abs().max().item()
    assert out.min() > 0
    assert error <= (1.5e-5 if torch.cuda.is_available() else 1e-5)


# -- relaxed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponentiated", [False, True])
def test_relaxed_against_the_reference(dtype, exponentiated, device):
    options = {"exponentiated": exponentiated, "log_prob": True}
    eps = torch.finfo(dtype).eps
    # Rows of a multiple of 8 categories, which two bytes each make aligned, and of another number.
    for shape in ((9, 3), (2, 128), (2, 3001)) if dtype == torch.float32 else ((2, 257), (2, 1000), (1, 4096)):
        w = weights(shape, dtype, device)
        temperature = w.new_tensor(0.7)
        ours = relaxed.relaxed((packed(),), w, temperature, shape, **options)
        expected = reference.relaxed(packed(), w.cpu(), temperature.cpu(), shape, **options)
        for a, b in zip(ours, expected, strict=True):
            # The interpreter truncates where the hardware rounds to a narrower dtype.
            torch.testing.assert_close(a.cpu(), b, rtol=max(4 * eps, 1e-5 if eps > 1e-10 else 0), atol=20 * eps)


def test_relaxed_at_extremes(device):
    w = torch.tensor([[1e4, -1e4, 0.0], [-torch.inf, 0.0, 0.0], [3.0, 2.0, 1.0]], device=device)
    for temperature in (1e-3, 1.0, 1e3):
        t = w.new_tensor(temperature)
        (y,) = relaxed.relaxed((packed(),), w, t, (3, 3), exponentiated=True, log_prob=False)
        assert y.isfinite().all()
        torch.testing.assert_close(y.sum(-1), torch.ones(3, device=device))
        assert y[1, 0] == 0
