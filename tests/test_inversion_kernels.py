"""The kernels that draw several categories from each row draw what the reference draws, to the last one."""

import math

import pytest
import torch
from kernel_cases import packed
from race_cases import weights

from rsample.kernels.engines.eager import rows as reference
from rsample.kernels.engines.triton import inversion, launch
from rsample.kernels.engines.triton.inversion import TableConfig
from rsample.kernels.stream.window import Window

pytestmark = pytest.mark.kernel

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def check(w, shape, *, from_probs=False, config=None, window=None, key=None):
    """The index, the one-hot sample and the log-probability of one draw."""
    key = packed() if key is None else key
    options = {"from_probs": from_probs, "window": window}
    index, log_prob = inversion.inversion((key,), w, shape, one_hot=False, log_prob=True, config=config, **options)
    expected, expected_log_prob = reference.inversion(
        key.cpu(), w.cpu(), shape, one_hot=False, log_prob=True, **options
    )
    assert torch.equal(index.cpu(), expected)
    eps = torch.finfo(w.dtype).eps
    torch.testing.assert_close(log_prob.cpu(), expected_log_prob, rtol=4 * eps, atol=max(4 * eps, 2e-6 * (eps > 1e-10)))
    (one_hot,) = inversion.inversion((key,), w, shape, one_hot=True, log_prob=False, config=config, **options)
    assert torch.equal(one_hot.cpu(), torch.nn.functional.one_hot(expected, shape[-1]).to(w.dtype))
    return index


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("from_probs", [False, True])
def test_every_dtype(dtype, from_probs, device):
    check(weights((3, 37), dtype, device, from_probs=from_probs), (7, 3, 37), from_probs=from_probs)


@pytest.mark.parametrize(
    ("given", "shape"), [((1,), (9, 1)), ((2,), (9, 2)), ((5003,), (130, 5003)), ((300, 3), (2, 300, 3))]
)
def test_rows_of_every_length(given, shape, device):
    check(weights(given, torch.float32, device), shape)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda w: w(3, 1, 11), (3, 5, 11)),
        (lambda w: w(5, 1, 7, 9), (2, 5, 6, 7, 9)),
        (lambda w: w(9, 5).t(), (4, 5, 9)),
        (lambda w: w(5, 20)[:, 1::2], (4, 5, 10)),
        (lambda w: w(1, 8).expand(5, 8), (4, 5, 8)),
        (lambda w: w(1).expand(8), (4, 8)),
    ],
)
def test_every_layout(make, shape, device):
    check(make(lambda *s: weights(s, torch.float32, device)), shape)


@pytest.mark.parametrize("from_probs", [False, True])
def test_the_sample_does_not_depend_on_how_rows_are_shared(from_probs, device):
    w = weights((3, 1000), torch.float32, device, from_probs=from_probs)
    for config in (TableConfig(1, 128, 256, 4), TableConfig(2, 64, 1000, 1), TableConfig(4, 32, 352, 3)):
        check(w, (40, 3, 1000), from_probs=from_probs, config=config)


@pytest.mark.parametrize(("from_probs", "dtype"), [(False, torch.float32), (True, torch.float64)])
def test_few_draws_need_sums_of_blocks_alone(from_probs, dtype, device, monkeypatch):
    monkeypatch.setattr(inversion, "SEARCH_ELEMENTS", 256)
    w = weights((2, 1000), dtype, device, from_probs=from_probs)
    w[1, :900] = 0.0 if from_probs else -torch.inf
    for config in (TableConfig(1, 128, 1000, 1), TableConfig(1, 64, 256, 4)):
        assert inversion.blocks_are_enough(3, 1000, config)
        check(w, (3, 2, 1000), from_probs=from_probs, config=config)
    w[1] = 0.0 if from_probs else -torch.inf
    options = {"from_probs": from_probs, "one_hot": False, "log_prob": False, "config": TableConfig(1, 128, 1000, 1)}
    assert (inversion.inversion((packed(),), w, (2, 2, 1000), **options)[0][:, 1] == 0).all()


def test_many_rows_and_few(device):
    assert inversion.configure(1, 10**6).parts > 16
    assert inversion.configure(4096, 50257).parts == 1
    for rows, k in ((1, 4096), (1, 50257), (3, 10**6), (100, 20000), (5, 3)):
        config = inversion.configure(rows, k)
        assert (config.parts - 1) * config.run < k <= config.parts * config.run


def test_64_bit_indices(device, monkeypatch):
    monkeypatch.setattr("rsample.kernels.engines.triton.inversion.INT31", 1)
    check(weights((3, 1, 11), torch.float32, device), (3, 4, 11))


def test_rows_without_a_weight_and_weights_that_are_no_number(device):
    w = torch.full((5, 40), -torch.inf, device=device)
    w[1] = torch.nan
    w[2, 33] = -1e30
    w[3] = torch.nan
    w[3, 7] = 5.0
    w[4, 9] = torch.inf
    assert check_index(w, False) == [0, 0, 33, 7, 9]
    p = torch.zeros(4, 40, device=device)
    p[1, 31] = 1e-45
    p[2] = -1.0
    p[2, 5] = 1e38
    p[3, 6] = torch.nan
    p[3, 8] = 1e-30
    assert check_index(p, True) == [0, 31, 5, 8]


def check_index(w, from_probs):
    shape = (4, *w.shape)
    options = {"from_probs": from_probs, "one_hot": False, "log_prob": False}
    (index,) = inversion.inversion((packed(),), w, shape, **options)
    assert torch.equal(index.cpu(), reference.inversion(packed(), w.cpu(), shape, **options)[0])
    assert (index == index[0]).all()
    return index[0].tolist()


@pytest.mark.parametrize("lead", [0, 1])
def test_a_box_of_a_larger_sample(lead, device):
    """Draws 2 .. 5 of rows 1 .. 3 among five, of nine draws each: row by row, or draw by draw."""
    w = weights((5, 1, 11), torch.float32, device)
    start = 9 + 2 + lead
    key = packed(3, 40)
    whole = reference.inversion(key, w.cpu(), (5, 9, 11), from_probs=False, one_hot=False, log_prob=False)[0]
    moved = packed(3, 40 + start // 2)
    box = check(w[1:3], (2, 3, 11), window=Window((start % 2, 9, 1)), key=moved)
    assert torch.equal(box.cpu(), whole[1:3, 2 + lead : 5 + lead])


@pytest.mark.parametrize(("seed", "offset"), [(0, 2**32 - 3), (2**64 - 1, 2**64 - 3)])
def test_any_64_bit_seed_and_offset(seed, offset, device):
    check(weights((20,), torch.float32, device), (50, 20), key=packed(seed, offset))


def test_a_key_in_device_memory_draws_the_same(device, monkeypatch):
    w = weights((3, 30), torch.float32, device)
    options = {"from_probs": False, "one_hot": False, "log_prob": False}
    (expected,) = inversion.inversion((packed(),), w, (4, 3, 30), **options)
    monkeypatch.setattr(launch, "on_device", lambda tensor: True)
    (index,) = inversion.inversion((packed().to(device),), w, (4, 3, 30), **options)
    assert torch.equal(index, expected)


def test_nothing_is_launched_for_an_empty_draw(device, monkeypatch):
    monkeypatch.setattr(inversion, "running_sums_kernel", None)
    options = {"from_probs": False, "one_hot": False, "log_prob": True}
    w = torch.zeros(0, 3, device=device)
    assert [x.shape for x in inversion.inversion((packed(),), w, (4, 0, 3), **options)] == [(4, 0), (4, 0)]


def test_two_launches(device, monkeypatch):
    launched = []

    def counted(kernel):
        class Counted:
            def __getitem__(self, grid):
                launched.append(math.prod(grid))
                return kernel[grid]

        return Counted()

    for name in ("running_sums_kernel", "search_kernel"):
        monkeypatch.setattr(inversion, name, counted(getattr(inversion, name)))
    check(weights((9000,), torch.float32, device), (3, 9000))
    assert len(launched) == 4
