"""The generic kernels against the reference, torch's own stateless draws and a float64 oracle."""

import numpy as np
import oracle
import pytest
import stateless
import torch
from kernel_cases import NOISE_BOUND, OFFSET, SEED, packed, values

from rsample.kernels.engines.eager import elementwise as reference
from rsample.kernels.engines.triton import elementwise, launch
from rsample.kernels.engines.triton.launch import BROADCAST_CONFIGS, CONFIGS, Config
from rsample.kernels.laws.bernoulli import BERNOULLI_LOGITS_LAW, BERNOULLI_PROBS_LAW
from rsample.kernels.laws.normal import NORMAL_LAW
from rsample.kernels.laws.uniform import UNIFORM_LAW
from rsample.kernels.runtime.language import tl, triton
from rsample.kernels.stream import compatibility, layout
from rsample.kernels.stream.layout import describe
from rsample.kernels.stream.noise import NATIVE_UNIFORM, NORMAL, UNIFORM, compute_dtype

pytestmark = pytest.mark.kernel

LAWS = [NORMAL_LAW, UNIFORM_LAW, BERNOULLI_PROBS_LAW, BERNOULLI_LOGITS_LAW]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]

# The interpreter is slow, and its arithmetic is not a GPU's: it gets fewer samples.
SLOWDOWN = 16 if launch.triton.knobs.runtime.interpret else 1


def tolerance(dtype):
    """Noise within its bound, times a scale below 1; and an ulp of `dtype`, for the interpreter truncates."""
    return {"rtol": torch.finfo(dtype).eps, "atol": NOISE_BOUND[compute_dtype(dtype)]}


def check(law, params, shape, dtype, key=None):
    """One draw against the reference; returns the sample."""
    key = packed() if key is None else key
    ours = elementwise.forward(law, (key,), params, shape, dtype)[0]
    assert ours.shape == torch.Size(shape)
    assert ours.dtype == dtype
    assert ours.is_contiguous()
    cpu = [p.cpu() for p in params]
    expected = reference.forward(law, key, cpu, shape, dtype)[0]
    if law is NORMAL_LAW:
        torch.testing.assert_close(ours.cpu(), expected, **tolerance(dtype))
    elif law is UNIFORM_LAW and launch.triton.knobs.runtime.interpret:
        # The interpreter truncates where the hardware rounds to a narrower dtype.
        torch.testing.assert_close(ours.cpu(), expected, rtol=2 * torch.finfo(dtype).eps, atol=0)
    else:
        assert torch.equal(ours.cpu(), expected)
    return ours


# -- forward


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", LAWS, ids=lambda m: m.name)
def test_samples_with_scalar_and_dense_parameters(law, dtype, device):
    n = 20_011  # hot passes, a carry, a tail
    dense = [values(n, dtype, device, seed=j) for j in range(len(law.parameters))]
    check(law, dense, (n,), dtype)
    scalar = [p[7] for p in dense]
    check(law, scalar, (n,), dtype)
    check(law, scalar, (n,), dtype, packed(5, 2**40))
    check(law, scalar, (3,), dtype)


@pytest.mark.parametrize(
    ("make", "kinds"),
    [
        (lambda p: p(24), layout.ROWS),
        (lambda p: p(40, 1), layout.REPEATED),
        (lambda p: p(24, 40).t(), layout.STRIDED),
        (lambda p: p(40, 25)[:, 1:], layout.STRIDED),
        (lambda p: p(40 * 24 + 1)[1:].reshape(40, 24), layout.STRIDED),
        (lambda p: p(11, 1, 24), layout.ROWS),
        (lambda p: p(11, 40, 1), layout.REPEATED),
        (lambda p: p(1, 40, 1).expand(11, 40, 24), layout.REPEATED),
        (lambda p: p(11, 24, 40).permute(0, 2, 1), layout.STRIDED),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_layout(make, kinds, dtype, device):
    shape = (11, 40, 24)
    operand = make(lambda *s: values(s, dtype, device))
    group = launch.group_size(dtype)
    assert describe(torch.Size(shape), [operand], group).kinds == (kinds,)
    check(NORMAL_LAW, [operand, values((), dtype, device)], shape, dtype, packed(1, 2**32 - 1500))


def test_channels_last_and_mixed_layouts(device):
    image = values((3, 5, 8, 8), torch.float32, device).to(memory_format=torch.channels_last)
    bias = values((5, 1, 1), torch.float32, device)
    check(NORMAL_LAW, [image, bias], (2, 3, 5, 8, 8), torch.float32)
    check(NORMAL_LAW, [bias, image], (3, 5, 8, 8), torch.float32)


def test_layouts_with_64_bit_indices(device, monkeypatch):
    monkeypatch.setattr(layout, "INT31", 1)
    row, column = values((24,), torch.float32, device), values((40, 1), torch.float32, device)
    assert describe(torch.Size((11, 40, 24)), [row], 4).wide
    check(NORMAL_LAW, [row, column], (11, 40, 24), torch.float32)
    check(NORMAL_LAW, [values((23,), torch.float32, device), column], (11, 40, 23), torch.float32)


@pytest.mark.parametrize(
    ("out", "loc", "scale"),
    [
        (torch.float32, torch.bfloat16, torch.float64),
        (torch.bfloat16, torch.float32, torch.float16),
        (torch.float64, torch.float32, torch.float32),
    ],
)
def test_dtypes_of_parameters_and_sample_may_differ(out, loc, scale, device):
    params = [values((5000,), loc, device), values((), scale, device)]
    check(NORMAL_LAW, params, (5000,), out)


def test_nothing_is_launched_for_an_empty_sample(device, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("launched")

    monkeypatch.setattr(elementwise, "launch_elements", refuse)
    params = [torch.zeros(0, 3, device=device), torch.ones(3, device=device)]
    assert elementwise.forward(NORMAL_LAW, (packed(),), params, (4, 0, 3), torch.float32)[0].shape == (4, 0, 3)
    grads = elementwise.backward(NORMAL_LAW, (packed(),), (torch.zeros(4, 0, 3, device=device),), params, [True, True])
    assert [g.tolist() for g in grads] == [[], [0.0, 0.0, 0.0]]


@pytest.mark.usefixtures("long_loops")
def test_the_sample_does_not_depend_on_the_configuration(device, monkeypatch):
    n = 20_000
    params = [values((n,), torch.float32, device), values((), torch.float32, device)]
    samples = []
    for config in (*CONFIGS, *BROADCAST_CONFIGS, Config(warps=1, unroll=2, passes=3)):
        for programs in (1, 10**9)[: 1 + (config is CONFIGS[0])]:
            monkeypatch.setattr(launch, "configs", lambda layout, config=config: (config,))
            monkeypatch.setattr(launch, "PROGRAMS", programs)
            samples.append(elementwise.forward(NORMAL_LAW, (packed(),), params, (n,), torch.float32)[0])
    assert all(torch.equal(samples[0], s) for s in samples[1:])


# -- the key


def compilations():
    """Compiled forms of the forward kernel so far; none on the interpreter."""
    caches = getattr(elementwise.elementwise_forward_kernel, "device_caches", {})
    return sum(len(cache[0]) for cache in caches.values())


def test_a_key_in_device_memory_draws_the_same(device, monkeypatch):
    params = [values((9000,), torch.float32, device), values((), torch.float32, device)]

    def draw(*key):
        return elementwise.forward(NORMAL_LAW, key, params, (9000,), torch.float32)[0]

    expected = draw(packed())
    words = np.array([SEED, 4 * OFFSET - 8], np.uint64).view(np.int64)
    seed, offset = (torch.tensor([int(w)], device=device) for w in words)
    intragraph = torch.tensor([8])
    assert torch.equal(draw(seed.cpu(), offset.cpu(), intragraph), expected)
    grad = torch.ones(9000, device=device)
    by_value = elementwise.backward(NORMAL_LAW, (packed(),), (grad,), params, [False, True])
    monkeypatch.setattr(launch, "on_device", lambda tensor: True)
    compiled = compilations()
    assert torch.equal(draw(seed, offset, intragraph), expected)
    assert compilations() == compiled  # what a graph captures was loaded by the draws before
    assert torch.equal(draw(packed().to(device)), expected)
    by_pointer = elementwise.backward(NORMAL_LAW, (seed, offset, intragraph), (grad,), params, [False, True])
    assert torch.equal(by_pointer[0], by_value[0])


@pytest.mark.parametrize("offset", [0, 3, 2**32 - 3, 2**32, 2**63 - 2, 2**64 - 3])
@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**64 - 1])
def test_any_64_bit_seed_and_offset(seed, offset, device):
    zero, one = torch.zeros((), device=device), torch.ones((), device=device)
    u = elementwise.forward(UNIFORM_LAW, (packed(seed, offset),), [zero, one], (5000,), torch.float32)[0]
    assert (u.cpu().double().numpy() == oracle.uniform(oracle.words(seed, offset, 1250), 24)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_full_tiles_are_accessed_16_bytes_at_a_time(dtype, device, runner, monkeypatch):
    if runner != "emulator":
        pytest.skip("only the emulator counts accesses")
    import gpu_emulator

    n = 3001  # odd, and too small for a pass of the hot loop:
    monkeypatch.setattr(launch, "PROGRAMS", 512)
    group = launch.group_size(dtype)
    full = n // (128 * group) * 128 * group
    params = [values(n, dtype, device, seed=j) for j in range(2)]
    with gpu_emulator.activate(memory_stats=True):
        elementwise.forward(NORMAL_LAW, (packed(),), params, (n,), dtype)[0]
        draw = gpu_emulator.last_launch()
        elementwise.backward(NORMAL_LAW, (packed(),), (params[0],), params, (False, True))
        gradient = gpu_emulator.last_launch()
    for record, reads in ((draw, 2), (gradient, 1)):
        # Four registers of 4 bytes; the rest of the sample goes one element at a time.
        assert record.store_vectors == {4: full // group, 1: n - full}
        assert record.load_vectors == {4: reads * full // group, 1: reads * (n - full)}


def test_one_compilation_for_all_seeds_offsets_sizes_and_alignments(device, runner):
    if runner == "interpreter":
        pytest.skip("the interpreter compiles nothing")

    buffer = values((70_000,), torch.float32, device)

    def draw(key, n, scalar, inner):
        elementwise.forward(UNIFORM_LAW, (key,), [buffer[:n], scalar], (n,), torch.float32)[0]
        elementwise.forward(UNIFORM_LAW, (key,), [buffer[:inner], scalar], (n // inner, inner), torch.float32)[0]

    draw(packed(1, 1), 1, buffer[0], 4)
    draw(packed(7, 9), 24, buffer[0], 12)
    before = compilations()
    for seed in (0, 1, 16, 2**31, 2**63):
        draw(packed(seed, seed + 1), 24 + seed % 1000, buffer[seed % 5], 12)
    for n, inner in ((48, 16), (4096, 32), (4097, 20), (60_000, 100)):
        draw(packed(3, 5), n, buffer[n % 7], inner)
    assert compilations() == before


# -- large index


def test_more_than_2_to_the_31_elements(device, runner, monkeypatch):
    """The last programs of a sample of 4.3 GB, of which only they touch memory."""
    if runner == "emulator":
        monkeypatch.setattr("gpu_emulator.config.detect_races", False)  # it would remember a writer for every byte
    dtype = torch.bfloat16
    rows, inner = 2**20 + 40, 2**11
    n = rows * inner
    out = torch.empty(n, dtype=dtype, device=device)
    row, column = values((inner,), dtype, device), values((rows, 1), torch.float32, device)
    group = launch.group_size(dtype)
    described = describe(torch.Size((rows, inner)), [row, column], group)
    assert described.kinds == (layout.ROWS, layout.REPEATED)
    assert described.wide
    config = Config(passes=1)
    last = config.programs(n, group)
    elements = 2 * config.tile(group) * config.run(n, group)
    key = packed(3, 2**34 - 77)
    tail = out[-elements:].fill_(float("nan"))
    launch.launch_elements(
        elementwise.elementwise_forward_kernel,
        (out, None, row, column, None, None),
        described,
        n,
        group,
        (key,),
        {**NORMAL_LAW.device_constants(), **elementwise.bound_constants(NORMAL_LAW, dtype)},
        device=torch.device(device),
        tune=False,
        config=config,
        first_program=last - 2,
    )
    drawn = n - (last - 2) * config.tile(group) * config.run(n, group)
    assert drawn > elements // 2
    index = torch.arange(n - drawn, n)
    assert int(index[0]) > 2**31
    assert int(index[0]) % 4 == 0
    later = torch.tensor([3, 2**34 - 77 + int(index[0]) // 4], dtype=torch.uint64)
    loc, scale = row.cpu().float()[index % inner], column.cpu()[index // inner, 0]
    expected = reference.forward(NORMAL_LAW, later, [loc, scale], (drawn,), dtype)[0]
    torch.testing.assert_close(tail[-drawn:].cpu(), expected, **tolerance(dtype))


# -- accuracy


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniform_equals_torch_bit_for_bit(dtype, device):
    zero, one = torch.zeros((), dtype=dtype, device=device), torch.ones((), dtype=dtype, device=device)
    ours = elementwise.forward(UNIFORM_LAW, (packed(),), [zero, one], (30_001,), dtype)[0]
    theirs = stateless.uniform(packed(), 30_001, dtype=dtype)
    if launch.triton.knobs.runtime.interpret and dtype.itemsize == 2:
        # The bound below 1 is one that rounds to the largest number below 1; the interpreter truncates it.
        ours = torch.where(theirs == theirs.max(), theirs, ours.cpu())
    assert torch.equal(ours.cpu(), theirs)


@pytest.mark.usefixtures("long_loops")
@pytest.mark.parametrize(("dtype", "n"), [(torch.float32, 2**20), (torch.float64, 2**17)])
def test_normal_noise_against_torch(dtype, n, device, record_property):
    n //= SLOWDOWN
    zero, one = torch.zeros((), dtype=dtype, device=device), torch.ones((), dtype=dtype, device=device)
    ours = elementwise.forward(NORMAL_LAW, (packed(),), [zero, one], (n,), dtype)[0].cpu()
    error = (ours - stateless.normal(packed(), n, dtype=dtype)).abs().max().item()
    print(f"standard normal, {dtype}, {n} samples: {error:.2g} from torch.func._random.normal")
    record_property("worst", error)
    assert error <= NOISE_BOUND[dtype]


@pytest.mark.usefixtures("long_loops")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_of_normal_noise_are_within_one_ulp_of_torch(dtype, device):
    zero, one = torch.zeros((), dtype=dtype, device=device), torch.ones((), dtype=dtype, device=device)
    n = 2**17
    ours = elementwise.forward(NORMAL_LAW, (packed(),), [zero, one], (n,), dtype)[0].cpu().double()
    theirs = stateless.normal(packed(), n, dtype=dtype).double()
    ulp = torch.finfo(dtype).eps * 2 ** torch.floor(torch.log2(theirs.abs())).clamp(min=-14)
    # Next to 0 the float32 noise itself differs by more than an ulp.
    assert ((ours - theirs).abs() <= torch.maximum(ulp, torch.tensor(NOISE_BOUND[torch.float32]))).all()


@triton.jit
def noise_kernel(out_ptr, words_ptr, NOISE: tl.constexpr, HARDWARE: tl.constexpr, N: tl.constexpr):
    i = tl.program_id(0) * N + tl.arange(0, N)
    DTYPE: tl.constexpr = out_ptr.dtype.element_ty
    w0 = tl.load(words_ptr + 4 * i).to(tl.uint32)
    w1 = tl.load(words_ptr + 4 * i + 1).to(tl.uint32)
    w2 = tl.load(words_ptr + 4 * i + 2).to(tl.uint32)
    w3 = tl.load(words_ptr + 4 * i + 3).to(tl.uint32)
    x = NOISE(w0, w1, w2, w3, DTYPE, HARDWARE)
    for j in tl.static_range(len(x)):
        tl.store(out_ptr + len(x) * i + j, x[j].to(DTYPE))


def device_noise(kind, words, dtype, device):
    """Noise of (blocks, 4) words, blocks a multiple of 128."""
    per_block = 2 if dtype == torch.float64 else 4
    out = torch.full((len(words) * per_block,), float("nan"), dtype=dtype, device=device)
    given = torch.from_numpy(words.astype(np.int64)).to(device)
    noise_kernel[(len(words) // 128,)](out, given, kind.device, launch.hardware(), 128, enable_fp_fusion=False)
    return out.cpu().double().numpy()


def radius_words():
    """Blocks whose radius words are the hard ones: both ends of the range and u next to 1, with all kinds of angles."""
    rng = np.random.default_rng(0)
    near_one = 2**32 - 1 - np.unique((2.0 ** rng.uniform(0, 28, 60_000)).astype(np.int64))
    radius = np.concatenate([np.arange(64), 2**32 - 1 - np.arange(64), near_one])
    radius = radius[: len(radius) // 256 * 256]
    angle = rng.integers(0, 2**32, len(radius))
    angle[:16] = angle[64:80] = [0, 1, 2**30, 2**31 - 1, 2**31, 2**31 + 1, 3 * 2**30, 2**32 - 1] * 2
    return np.stack((radius, angle), -1).reshape(-1, 4).astype(np.uint64)


def test_normal_noise_of_extreme_words(device):
    words = radius_words()
    ours = device_noise(NORMAL, words, torch.float32, device)
    error = np.abs(ours - oracle.normal32(words)).max()
    print(f"standard normal, float32, {words.size} hard words: {error:.2g} from the float64 oracle")
    assert np.isfinite(ours).all()
    assert error <= NOISE_BOUND[torch.float32]
    ours = device_noise(NORMAL, words, torch.float64, device)
    assert np.isfinite(ours).all()
    # Next to u = 1 the logarithm is ill-conditioned: the last bit of u moves the radius by 2**-53 / radius.
    radius = np.hypot(ours[0::2], ours[1::2]).repeat(2)
    assert (np.abs(ours - oracle.normal64(words)) <= 8e-15 + 2.0**-52 / np.maximum(radius, 1e-9)).all()


@pytest.mark.parametrize(("dtype", "bits"), list(zip(DTYPES, [24, 53, 8, 11], strict=True)))
def test_uniform_noise_of_extreme_words(dtype, bits, device):
    rng = np.random.default_rng(0)
    words = rng.choice(np.array([0, 1, 2**8, 2**11, 2**24 - 1, 2**24, 2**31, 2**32 - 1], np.uint64), (128, 4))
    ours = device_noise(NATIVE_UNIFORM, words, dtype, device)
    assert (ours == oracle.uniform(words, bits)).all()
    assert ours.max() < 1
    wide = 53 if bits == 53 else 24
    if wide == bits:
        assert (device_noise(UNIFORM, words, dtype, device) == oracle.uniform(words, wide)).all()


@pytest.mark.usefixtures("long_loops")
def test_a_million_bernoulli_draws_from_logits(device):
    n = 10**6 // SLOWDOWN
    logits = torch.randn(n, generator=torch.Generator().manual_seed(1)) * 4
    ours = elementwise.forward(BERNOULLI_LOGITS_LAW, (packed(),), [logits.to(device)], (n,), torch.float32)[0]
    u = stateless.uniform(packed(), n).double()
    flipped = (ours.cpu() == 1) != (u < torch.sigmoid(logits.double()))
    assert flipped.sum() <= (2 if torch.cuda.is_available() else 0)  # hardware's exp: about one in ten million


@pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")  # numpy's, on the interpreter
def test_bernoulli_logits_out_of_the_range_of_exp(device):
    n = 4096
    for logit, expected in [(float("inf"), 1), (200.0, 1), (-200.0, 0), (-float("inf"), 0)]:
        logits = torch.tensor(logit, device=device)
        ours = elementwise.forward(BERNOULLI_LOGITS_LAW, (packed(),), [logits], (n,), torch.float32)[0]
        assert (ours == expected).all()
    words = np.zeros((128, 4), np.uint64)
    assert (device_noise(UNIFORM, words, torch.float32, device) == 0).all()


# -- on a GPU


@pytest.mark.cuda
def test_replays_of_a_captured_graph_draw_their_own_keys(device):
    n = 10_000
    zero, one = torch.zeros((), device=device), torch.ones((), device=device)
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    blocks = -(-n // 4)

    def draw():
        key = compatibility.philox_state(generator, 4 * blocks)
        return elementwise.forward(NORMAL_LAW, key, [zero, one], (n,), torch.float32)[0]

    torch.cuda.manual_seed(11)
    draw()  # compiles and loads the kernel, which a capture cannot
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        drawn = draw()
    torch.cuda.manual_seed(11)
    replays = []
    for replay in range(3):
        graph.replay()
        replays.append(drawn.cpu())
        if hasattr(generator, "philox_state"):  # without it, a replay draws the key of each of its draws
            key = torch.tensor([11, replay * blocks], dtype=torch.uint64)
            expected = stateless.normal(key, n)
            torch.testing.assert_close(replays[-1], expected, rtol=0, atol=NOISE_BOUND[torch.float32])
    assert not torch.equal(replays[0], replays[1])
    assert not torch.equal(replays[1], replays[2])


@pytest.mark.usefixtures("long_loops")
def test_tuning_is_done_once_for_all_sizes_and_changes_no_sample(device, runner, monkeypatch):
    if runner == "interpreter":
        pytest.skip("the interpreter has nothing to time")
    n = 2**15 + 5 if runner == "emulator" else 2**22 + 5
    monkeypatch.setattr(launch, "TUNED_NUMEL", n - 5)
    if runner == "emulator":
        monkeypatch.setattr(launch, "_timing_works", lambda device: True)  # it ranks by instructions
    else:
        monkeypatch.setattr(launch, "PROGRAMS", 512)
    tuned: dict = {}
    monkeypatch.setattr(launch, "_tuned", tuned)
    zero, one = torch.zeros(n, device=device), torch.ones((), device=device)

    def draw(n):
        return elementwise.forward(NORMAL_LAW, (packed(),), [zero[:n], one], (n,), torch.float32)[0]

    small, sample = draw(2**14), draw(n)
    assert len(tuned) == 1
    assert next(iter(tuned.values())) in CONFIGS
    assert torch.equal(draw(n - 4), sample[: n - 4])
    assert torch.equal(small, sample[: 2**14])
    assert len(tuned) == 1
    elementwise.backward(NORMAL_LAW, (packed(),), (sample,), [zero, one], [False, True])
    assert len(tuned) == 1  # a sum is never tuned: its rounding depends on the split
    elementwise.backward(NORMAL_LAW, (packed(),), (sample,), [zero, zero], [False, True])
    assert len(tuned) == 2
    monkeypatch.setattr(launch, "_timing_works", lambda device: False)  # as in a graph capture: takes what was tuned
    assert torch.equal(draw(n), sample)
    monkeypatch.setattr(launch, "TUNED_NUMEL", 2**62)
    assert torch.equal(draw(n), sample)
