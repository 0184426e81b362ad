"""Philox4x32 in all its forms: known answers, and word for word against the oracle."""

import numpy as np
import oracle
import pytest
import torch

from rsample.kernels.engines.triton import launch
from rsample.kernels.runtime.language import tl, triton
from rsample.kernels.stream.philox import philox4x32, philox4x32_words, philox_blocks

KNOWN_ANSWERS = list(oracle.known_answers())


@triton.jit
def words_kernel(
    out_ptr,
    counter_ptr,
    key_ptr,
    ROUNDS: tl.constexpr,
    HARDWARE: tl.constexpr,
    STEP: tl.constexpr,
    N: tl.constexpr,
):
    i = tl.arange(0, N)
    c0 = tl.load(counter_ptr + 4 * i).to(tl.uint32)
    c1 = tl.load(counter_ptr + 4 * i + 1).to(tl.uint32)
    c2 = tl.load(counter_ptr + 4 * i + 2).to(tl.uint32)
    c3 = tl.load(counter_ptr + 4 * i + 3).to(tl.uint32)
    k0 = tl.load(key_ptr).to(tl.uint32)
    k1 = tl.load(key_ptr + 1).to(tl.uint32)
    w0, w1, w2, w3 = philox4x32_words(c0, c1, c2, c3, k0, k1, ROUNDS, HARDWARE, STEP)
    tl.store(out_ptr + 4 * i, w0.to(tl.int64))
    tl.store(out_ptr + 4 * i + 1, w1.to(tl.int64))
    tl.store(out_ptr + 4 * i + 2, w2.to(tl.int64))
    tl.store(out_ptr + 4 * i + 3, w3.to(tl.int64))


def device_words(counters, key, device, rounds=10, step=0):
    counters = torch.tensor(counters, dtype=torch.int64, device=device)
    out = torch.full_like(counters, -1)
    key = torch.tensor(key, dtype=torch.int64, device=device)
    words_kernel[(1,)](out, counters, key, rounds, launch.hardware(), step, len(counters), enable_fp_fusion=False)
    return out.tolist()


def test_the_file_has_both_round_counts():
    assert sorted(rounds for rounds, *_ in KNOWN_ANSWERS) == [7, 7, 7, 10, 10, 10]


@pytest.mark.parametrize(("rounds", "counter", "key", "output"), KNOWN_ANSWERS)
class TestKnownAnswers:
    def test_oracle(self, rounds, counter, key, output):
        assert [int(w) for w in oracle.philox4x32(counter, key, rounds)] == output

    def test_torch(self, rounds, counter, key, output):
        words = philox4x32(tuple(map(torch.tensor, counter)), tuple(map(torch.tensor, key)), rounds)
        assert [int(w) for w in words] == output

    @pytest.mark.kernel
    def test_device(self, rounds, counter, key, output, device):
        assert device_words([counter, counter], key, device, rounds) == [output, output]


@pytest.mark.parametrize("offset", [0, 2**32 - 3, 2**63 - 2, 2**64 - 3])
@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1, 0x243F6A8885A308D3])
def test_blocks_equal_the_oracle(seed, offset):
    signed = torch.tensor(np.array([seed, offset], np.uint64).view(np.int64))
    words = philox_blocks(signed[0], signed[1] + torch.arange(7))
    assert (torch.stack(words, -1).numpy().view(np.uint64) == oracle.words(seed, offset, 7)).all()


@pytest.mark.kernel
def test_device_equals_the_oracle_on_random_counters(device):
    counters = np.random.default_rng(1).integers(0, 2**32, (64, 4))
    expected = np.stack(oracle.philox4x32(counters.T, (5, 2**31 + 7)), -1)
    assert device_words(counters.tolist(), (5, 2**31 + 7), device) == expected.tolist()


@pytest.mark.kernel
def test_a_step_is_an_addition_to_the_first_counter_word(device):
    counters = [[2**32 - 513 - i, 3, 0, 0] for i in range(32)]
    stepped = [[c0 + 512, *rest] for c0, *rest in counters]
    assert device_words(counters, (1, 2), device, step=512) == device_words(stepped, (1, 2), device)
