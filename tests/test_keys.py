"""Keys and generators: what a key means, and what a draw takes from a generator."""

import threading

import numpy as np
import oracle
import pytest
import stateless
import torch

import rsample.distributions as dist
from rsample import kernels
from rsample.kernels.draws import keys
from rsample.kernels.stream import compatibility
from rsample.kernels.stream.philox_key import packed_key

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]

# Bounds of |ours - torch.func._random.normal|: ATen and the compiled loop evaluate log, sin and cos differently by a
# few units in the last place of a value below 6.7 (9.5 in float64); halves may then round to the neighbour.
NORMAL_BOUND = {torch.float32: 4e-6, torch.float64: 1e-14, torch.float16: 2.0**-8, torch.bfloat16: 2.0**-5}


@pytest.fixture(params=[0, 2**32 - 3, 2**64 - 3], ids=["small", "carry32", "carry64"])
def key(request):
    return torch.tensor([0x0123456789ABCDEF, request.param], dtype=torch.uint64)


@pytest.mark.parametrize("n", [1, 7, 1023, 2**15 + 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_standard_uniform_is_torchs_stateless_one_bit_for_bit(key, dtype, n):
    zero, one = torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype)
    assert torch.equal(dist.Uniform(zero, one).sample((n,), key=key), stateless.uniform(key, n, dtype=dtype))


@pytest.mark.parametrize("n", [1, 7, 1023, 2**15 + 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_standard_normal_is_torchs_stateless_one(key, dtype, n):
    zero, one = torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype)
    difference = dist.Normal(zero, one).sample((n,), key=key) - stateless.normal(key, n, dtype=dtype)
    assert difference.abs().max() <= NORMAL_BOUND[dtype]


@pytest.fixture(params=["installed", "without"])
def fills(request, monkeypatch):
    """The installed torch, and one whose ATen fills nothing from a key."""
    if request.param == "without":
        monkeypatch.setattr(compatibility, "_FILLED", {})


@pytest.mark.usefixtures("fills")
def test_keys_are_derived_as_torch_derives_them(key):
    root = kernels.key(2**64 - 3)
    assert (root.dtype, root.tolist()) == (torch.uint64, [2**64 - 3, 0])
    seed, offset = key.tolist()
    words = oracle.words(seed, offset, 5)
    expected = torch.from_numpy(np.stack((words[:, 0] | words[:, 1] << 32, words[:, 2] | words[:, 3] << 32), -1))
    assert torch.equal(kernels.split(key, 5), expected)
    assert torch.equal(kernels.split(torch.stack((key, root)), 5)[:, 0], expected)
    for i in (0, 4):
        assert torch.equal(kernels.fold_in(key, i), expected[i])


def test_derived_keys_draw_other_numbers_and_are_not_changed():
    root = kernels.key(42)
    first, second = kernels.split(root)
    before = first.clone()
    a = dist.Normal(0.0, 1.0).sample((8,), key=first)
    assert torch.equal(first, before)
    assert torch.equal(a, dist.Normal(0.0, 1.0).sample((8,), key=first))
    assert not torch.equal(a, dist.Normal(0.0, 1.0).sample((8,), key=second))


def test_a_draw_is_a_slice_of_the_keys_stream():
    whole = dist.Normal(0.0, 1.0).sample((64,), key=torch.tensor([5, 100], dtype=torch.uint64))
    later = dist.Normal(0.0, 1.0).sample((32,), key=torch.tensor([5, 108], dtype=torch.uint64))
    assert torch.equal(whole[32:], later)


@pytest.mark.parametrize("n", [16, 2**14])
def test_manual_seed_and_fork_rng_reproduce(n):
    d = dist.Normal(torch.zeros(n), torch.ones(n))
    torch.manual_seed(7)
    first, second = d.sample(), d.rsample()
    torch.manual_seed(7)
    assert torch.equal(first, d.sample())
    with torch.random.fork_rng():
        assert torch.equal(second, d.rsample())
    assert torch.equal(second, d.rsample())


def test_generator_is_used_and_leaves_the_default_one_alone():
    d = dist.Uniform(0.0, 1.0)
    state = torch.get_rng_state()
    first = d.sample((8,), generator=torch.Generator().manual_seed(1))
    again = d.rsample((8,), generator=torch.Generator().manual_seed(1))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_explicit_key_consumes_no_generator_state():
    state = torch.get_rng_state()
    dist.Normal(0.0, 1.0).sample((8,), key=kernels.key(1))
    assert torch.equal(torch.get_rng_state(), state)


def test_consecutive_draws_never_share_a_number():
    torch.manual_seed(0)
    d = dist.Uniform(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))
    drawn = torch.cat([d.sample((1000,)) for _ in range(100)])
    # 10^5 draws of 53 bits: a collision by chance has probability 6e-7.
    assert drawn.unique().numel() == drawn.numel()


def test_reservation_of_a_graph_capture_becomes_the_key_that_the_kernels_read():
    # What Generator.philox_state returns: offsets in 32-bit words, as int64 bits of uint64.
    seed = torch.tensor([-5])
    reservation = (seed, torch.tensor([2**63 - 1 - 3]), torch.tensor([8]))
    packed = packed_key(reservation)
    assert packed.tolist() == [2**64 - 5, (2**63 - 4 + 8) // 4]


def test_words_reserved_cover_the_sample(monkeypatch):
    taken = []

    class Philox:
        device = torch.device("cuda", 0)

        def philox_state(self, increment):
            taken.append(increment)
            return torch.tensor([1]), torch.tensor([0]), torch.tensor([0])

    for blocks in (0, 1, 250):
        keys.reserve(torch.device("cuda", 0), blocks, Philox())
    assert taken == [0, 4, 1000]


def test_a_generator_that_hands_out_no_state_is_moved_on(monkeypatch):
    """What stands in for `Generator.philox_state` before torch 2.14."""

    class Generator:
        device = torch.device("cuda", 0)
        offset = 8

        def initial_seed(self):
            return 2**64 - 5

        def get_offset(self):
            return self.offset

        def set_offset(self, offset):
            self.offset = offset

    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    generator = Generator()
    first, second = (keys.reserve(torch.device("cuda", 0), blocks, generator) for blocks in (250, 1))
    assert packed_key(first).tolist() == [2**64 - 5, 2]
    assert packed_key(second).tolist() == [2**64 - 5, 252]
    assert generator.offset == 8 + 4 * 251


@pytest.mark.cuda
def test_cuda_draws_advance_the_generator_by_their_words():
    torch.cuda.init()  # which makes the generators
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    torch.cuda.manual_seed(3)
    start = generator.get_offset()
    dist.Normal(torch.zeros((), device="cuda"), 1.0).sample((1001,))
    assert generator.get_offset() - start == 4 * 251


@pytest.mark.cuda
def test_cuda_sample_equals_the_cpu_sample_of_the_same_key():
    key = kernels.key(17)
    for dtype in DTYPES:
        zero, one = torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype)
        on_cpu = dist.Uniform(zero, one).sample((1001,), key=key)
        on_gpu = dist.Uniform(zero.cuda(), one.cuda()).sample((1001,), key=key)
        assert torch.equal(on_gpu.cpu(), on_cpu)
        assert torch.equal(dist.Uniform(zero.cuda(), one.cuda()).sample((1001,), key=key.cuda()), on_gpu)
        difference = dist.Normal(zero.cuda(), one.cuda()).sample((1001,), key=key).cpu() - dist.Normal(
            zero, one
        ).sample((1001,), key=key)
        assert difference.abs().max() <= max(NORMAL_BOUND[dtype], 2e-5)


@pytest.mark.cuda
def test_cuda_graph_replays_draw_new_numbers_and_match_the_reserved_keys():
    loc = torch.zeros(1000, device="cuda", requires_grad=True)
    scale = torch.ones((), device="cuda", requires_grad=True)
    normal = dist.Normal(loc, scale, validate_args=False)
    torch.cuda.init()  # which makes the generators
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):  # warm-up compiles and tunes outside of the capture
        torch.autograd.grad(normal.rsample().sum(), (loc, scale))
    torch.cuda.current_stream().wait_stream(side)

    graph = torch.cuda.CUDAGraph()
    torch.cuda.manual_seed(5)
    with torch.cuda.graph(graph):
        sample = normal.rsample()
        _, grad_scale = torch.autograd.grad(sample.sum(), (loc, scale))
    drawn = []
    for _ in range(3):
        block = generator.get_offset() // 4
        graph.replay()
        if hasattr(generator, "philox_state"):  # without it, a replay draws the key of each of its draws
            key = torch.tensor([5, block], dtype=torch.uint64)
            assert torch.equal(sample, normal.sample(key=key))
        torch.testing.assert_close(grad_scale, sample.detach().sum(), rtol=1e-4, atol=1e-3)
        drawn.append(sample.detach().clone())
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])


@pytest.mark.cuda
def test_compiled_cuda_draw_without_key():
    @torch.compile(fullgraph=True)
    def draw(loc):
        return dist.Normal(loc, 1.0, validate_args=False).sample()

    first, second = draw(torch.zeros(4096, device="cuda")), draw(torch.zeros(4096, device="cuda"))
    assert not torch.equal(first, second)


def test_a_threads_first_draw_may_be_in_inference_mode():
    """Draws that keep no key share the tensor that their keys are drawn into: one per thread."""
    drawn = {}

    def draw(name):
        with torch.inference_mode():
            first = dist.Normal(0.0, 1.0).sample((5,))
        drawn[name] = (first, dist.Normal(0.0, 1.0).sample((5,)), dist.Normal(0.0, 1.0).sample((5,)))

    threads = [threading.Thread(target=draw, args=(name,)) for name in "ab"]
    torch.manual_seed(0)
    for thread in threads:
        thread.start()
        thread.join()
    torch.manual_seed(0)
    one_after_the_other = [dist.Normal(0.0, 1.0).sample((5,)) for _ in range(6)]
    assert all(torch.equal(x, y) for x, y in zip(drawn["a"] + drawn["b"], one_after_the_other, strict=True))
    assert len({tuple(x.tolist()) for x in one_after_the_other}) == 6
