"""The compiled CPU backend against the reference: every law, dtype and layout, and what must not change a draw."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rsample.kernels.engines.cpu import chunks
from rsample.kernels.engines.cpu import elementwise as compiled
from rsample.kernels.engines.eager import elementwise as reference
from rsample.kernels.laws.bernoulli import BERNOULLI_LOGITS_LAW, BERNOULLI_PROBS_LAW
from rsample.kernels.laws.law import Law
from rsample.kernels.laws.normal import NORMAL_LAW
from rsample.kernels.laws.uniform import UNIFORM_LAW
from rsample.kernels.stream.noise import UNIFORM, compute_dtype

LAWS = [NORMAL_LAW, UNIFORM_LAW, BERNOULLI_PROBS_LAW, BERNOULLI_LOGITS_LAW]
PATHWISE = [m for m in LAWS if m.reference_grad is not None]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
LAYOUTS = ["number", "dense", "misaligned", "row", "column", "row and column", "transposed", "expanded", "other dtype"]
SHAPE = (37, 1013)

by_name = pytest.mark.parametrize("law", LAWS, ids=lambda m: m.name)
pathwise = pytest.mark.parametrize("law", PATHWISE, ids=lambda m: m.name)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def _poisoned() -> Iterator[None]:
    """`torch.empty` gives NaN, so an element that is never written shows."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def key_of(seed: int, offset: int = 0) -> Tensor:
    return torch.tensor([seed % 2**64, offset % 2**64], dtype=torch.uint64)


def params_of(law: Law, layout: str, dtype: torch.dtype, shape: tuple[int, ...] = SHAPE) -> list[Tensor]:
    """Parameters in [0.25, 0.75], valid for every law, broadcastable to a two-dimensional `shape`."""
    generator = torch.Generator().manual_seed(0)

    def draw(*sizes: int, dtype: torch.dtype = dtype) -> Tensor:
        return (0.25 + 0.5 * torch.rand(sizes, generator=generator, dtype=torch.float64)).to(dtype)

    rows, columns = shape
    makers = {
        "number": lambda i: draw(),
        "dense": lambda i: draw(rows, columns),
        "misaligned": lambda i: draw(rows * columns + 1)[1:].view(shape),
        "row": lambda i: draw(columns),
        "column": lambda i: draw(rows, 1),
        "row and column": lambda i: draw(columns) if i % 2 else draw(rows, 1),
        "transposed": lambda i: draw(columns, rows).t(),
        "expanded": lambda i: (draw(rows, 1) if i % 2 else draw()).expand(shape),
        "other dtype": lambda i: draw(rows, columns, dtype=torch.float64 if dtype == torch.float32 else torch.float32),
    }
    return [makers[layout](i) for i in range(len(law.parameters))]


def assert_close(ours: Tensor, expected: Tensor, law: Law) -> None:
    """Uniforms bit for bit; normal noise to a few units in the last place, and then rounded to the sample's dtype."""
    assert ours.shape == expected.shape
    assert ours.dtype == expected.dtype
    if law is BERNOULLI_LOGITS_LAW:
        # Two implementations of exp may differ in the last bit, which decides one draw in some ten million.
        assert (ours != expected).sum() <= 1
    elif law is NORMAL_LAW:
        noise_error = 1e-14 if ours.dtype == torch.float64 else 2e-6
        rounding = 2 * torch.finfo(ours.dtype).eps * expected.double().abs()
        assert ((ours.double() - expected.double()).abs() <= noise_error + rounding).all()
    else:
        assert torch.equal(ours, expected)


# ------------------------------------------------------------------------------------------------------------- samples


@by_name
@every_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("_poisoned")
def test_forward_equals_the_reference(law, dtype, layout, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 5000)
    params = params_of(law, layout, dtype)
    key = key_of(-(2**40), 2**32 - 1000)
    assert compiled.available(law, dtype)
    ours = compiled.forward(law, key, params, SHAPE, dtype)[0]
    assert ours.is_contiguous()
    assert_close(ours, reference.forward(law, key, params, SHAPE, dtype)[0], law)


@every_dtype
@pytest.mark.parametrize("numel", [1, 2, 3, 5, 127, 128, 129, 4095, 4097, 8191, 2**18 - 1, 2**18 + 3])
@pytest.mark.usefixtures("_poisoned")
def test_every_size_is_a_prefix_of_one_stream(dtype, numel):
    # Also the words against the torch Philox, which reference.forward leaves to ATen.
    params = [torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype)]
    ours = compiled.forward(UNIFORM_LAW, key_of(7), params, (numel,), dtype)[0]
    noise = reference.noise(UNIFORM_LAW.noise, key_of(7).view(torch.int64), numel, dtype)
    assert torch.equal(ours, noise.to(dtype))


@every_dtype
@pytest.mark.parametrize("offset", [2**32 - 5, 2**63 - 5, 2**64 - 5, 2**64 - 2**14])
@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1])
def test_offsets_carry_and_wrap(dtype, seed, offset):
    params = [torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype)]
    key = key_of(seed, offset)
    ours = compiled.forward(UNIFORM_LAW, key, params, (70001,), dtype)[0]
    assert torch.equal(ours, reference.noise(UNIFORM_LAW.noise, key.view(torch.int64), 70001, dtype).to(dtype))


@pytest.mark.parametrize("shape", [(8, 1 << 20), (1 << 20, 3), (5, 7, 30011), (1, 1, 1 << 19), (2, 1, 3, 1 << 17)])
def test_real_chunks_of_many_shapes(shape):
    columns = torch.linspace(0, 1, shape[-1])
    params = [columns, torch.ones((*shape[:-1], 1))]
    ours = compiled.forward(UNIFORM_LAW, key_of(3), params, shape, torch.float32)[0]
    assert torch.equal(ours, reference.forward(UNIFORM_LAW, key_of(3), params, shape, torch.float32)[0])


@pytest.mark.parametrize("chunk", [999, 1013, 4096, 10**9])
def test_chunks_change_no_bit(chunk, monkeypatch):
    params = params_of(NORMAL_LAW, "row and column", torch.float32)
    whole = compiled.forward(
        NORMAL_LAW, key_of(1), [p.expand(SHAPE).contiguous() for p in params], SHAPE, torch.float32
    )[0]
    monkeypatch.setattr(chunks, "CHUNK", chunk)
    assert torch.equal(whole, compiled.forward(NORMAL_LAW, key_of(1), params, SHAPE, torch.float32)[0])


@every_dtype
@pytest.mark.parametrize("first", [2**31 - 3, 2**33 + 1, 2**40 + 2, 2**40 + 7])
def test_chunks_far_into_a_draw(dtype, first):
    # What a draw of more than 2**31 elements does at its end, without the memory.
    compute = compute_dtype(dtype)
    loop = compiled._Loop(compiled._library(UNIFORM_LAW, compute).forward, key_of(9, 2**64 - 2**30), dtype)
    numel, per_block = 9001, 2 if dtype == torch.float64 else 4
    ours = torch.full((numel,), float("nan"), dtype=compute)
    inputs = [
        torch.zeros((), dtype=compute),
        torch.ones((), dtype=compute),
        *compiled.bounds(UNIFORM_LAW.support, dtype),
    ]
    loop([(x, False) for x in inputs], [(ours, 0)], first, numel)
    key = key_of(9, 2**64 - 2**30 + first // per_block).view(torch.int64)
    lead = first % per_block
    expected = reference.noise(UNIFORM_LAW.noise, key, lead + numel, dtype)[lead:]
    # The bound below 1 is one that rounds to the number below 1.
    assert torch.equal(ours.to(dtype), expected.to(dtype))


def test_key_is_taken_as_bits():
    params = params_of(UNIFORM_LAW, "number", torch.float32)
    key = key_of(2**64 - 3, 2**63 + 1)
    a, b = (compiled.forward(UNIFORM_LAW, k, params, SHAPE, torch.float32)[0] for k in (key, key.view(torch.int64)))
    assert torch.equal(a, b)


def test_nan_and_infinite_parameters_stay():
    loc = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0] * 8192)
    sample = compiled.forward(NORMAL_LAW, key_of(1), [loc, torch.ones(())], loc.shape, torch.float32)[0]
    assert torch.equal(sample.isnan(), loc.isnan())
    assert torch.equal(sample.isposinf(), loc.isposinf())
    probs = torch.tensor([0.0, 1.0, float("nan"), 1.0]).repeat(8192)
    draws = compiled.forward(BERNOULLI_PROBS_LAW, key_of(1), [probs], probs.shape, torch.float32)[0]
    assert torch.equal(draws, torch.tensor([0.0, 1.0, 0.0, 1.0]).repeat(8192))


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 5)])
def test_empty_draws(shape):
    params = [torch.zeros(()), torch.ones(shape[-1])]
    assert compiled.forward(NORMAL_LAW, key_of(1), params, shape, torch.float32)[0].shape == shape
    grads = compiled.backward(NORMAL_LAW, key_of(1), (torch.ones(shape),), params, [True, True])
    assert [g.shape for g in grads] == [p.shape for p in params]
    assert all((g == 0).all() for g in grads)


# ----------------------------------------------------------------------------------------------------------- gradients


def exact_gradients(law: Law, key: Tensor, grad: Tensor, params: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients summed in float64 from the noise that the backend itself draws, and the sums of absolute values."""
    compute = compute_dtype(grad.dtype)
    identity = [torch.zeros((), dtype=compute), torch.ones((), dtype=compute)]
    if law is NORMAL_LAW or grad.dtype == compute:
        noise = compiled.forward(law, key, identity, grad.shape, compute)[0]
    else:
        noise = compiled.forward(law, key, identity, grad.shape, grad.dtype)[0].to(compute)
    parts = law.reference_grad(noise.double(), grad.double(), *(p.double() for p in params))
    return (
        [g.sum_to_size(p.shape) for g, p in zip(parts, params, strict=True)],
        [g.abs().sum_to_size(p.shape) for g, p in zip(parts, params, strict=True)],
    )


@pathwise
@every_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("_poisoned")
def test_backward_sums_to_rounding(law, dtype, layout, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 5000)
    params = params_of(law, layout, dtype)
    key = key_of(11, 2**32 - 1000)
    grad = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    ours = compiled.backward(law, key, (grad,), params, [True] * len(params))
    expected, magnitude = exact_gradients(law, key, grad, params)
    for g, e, m, p in zip(ours, expected, magnitude, params, strict=True):
        assert g.shape == p.shape
        assert g.dtype == p.dtype
        # A sum's error is a small multiple of one rounding of the sum of absolute values; the result is rounded once,
        # on an even grid below the smallest normal number.
        rounding = torch.finfo(p.dtype).eps * e.abs().clamp(min=torch.finfo(p.dtype).smallest_normal)
        allowed = 8 * torch.finfo(compute_dtype(dtype)).eps * m + rounding
        assert ((g.double() - e).abs() <= allowed).all()


def test_backward_of_a_long_sum_is_exact_to_rounding():
    numel = 3 * 2**20 + 5
    grad = torch.rand(numel, generator=torch.Generator().manual_seed(1))
    params = [torch.zeros(()), torch.ones(())]
    ours = compiled.backward(UNIFORM_LAW, key_of(5), (grad,), params, [True, True])
    expected, magnitude = exact_gradients(UNIFORM_LAW, key_of(5), grad, params)
    for g, e, m in zip(ours, expected, magnitude, strict=True):
        assert (g.double() - e).abs() <= torch.finfo(torch.float32).eps * m


@pathwise
@pytest.mark.parametrize("needs", [[True, False], [False, True], [False, False]])
@pytest.mark.parametrize("layout", ["number", "dense", "row"])
def test_backward_returns_what_is_needed(law, needs, layout):
    params = params_of(law, layout, torch.float32)
    grad = torch.rand(SHAPE)
    every = compiled.backward(law, key_of(5), (grad,), params, [True, True])
    some = compiled.backward(law, key_of(5), (grad,), params, needs)
    expected = [g for g, needed in zip(every, needs, strict=True) if needed]
    assert len(some) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(some, expected, strict=True))


@pytest.mark.parametrize("layout", ["number", "dense", "row", "column"])
def test_backward_takes_gradients_of_any_strides(layout):
    params = params_of(NORMAL_LAW, layout, torch.float32)
    dense = torch.rand(SHAPE)
    for grad in (dense.t().contiguous().t(), torch.rand(SHAPE[0], 1).expand(SHAPE), torch.tensor(2.0).expand(SHAPE)):
        ours = compiled.backward(NORMAL_LAW, key_of(5), (grad,), params, [True, True])
        same = compiled.backward(NORMAL_LAW, key_of(5), (grad.contiguous(),), params, [True, True])
        for a, b in zip(ours, same, strict=True):
            # Chunked and unchunked sums may round differently; what is not summed may not.
            assert torch.equal(a, b) if layout == "dense" else torch.allclose(a, b, rtol=1e-5, atol=1e-4)


# --------------------------------------------------------------------------------------------- what must change nothing


@pathwise
@pytest.mark.parametrize("layout", LAYOUTS)
def test_threads_change_no_bit(law, layout):
    shape = (601, 1013)
    params = params_of(law, layout, torch.float32, shape)
    grad = torch.rand(shape)
    results = []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        sample = compiled.forward(law, key_of(5), params, shape, torch.float32)[0]
        results.append([sample, *compiled.backward(law, key_of(5), (grad,), params, [True, True])])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize(
    "mode",
    [torch.inference_mode, torch.no_grad, torch.enable_grad, lambda: torch.autocast("cpu", dtype=torch.bfloat16)],
    ids=["inference_mode", "no_grad", "enable_grad", "autocast"],
)
@pytest.mark.parametrize("layout", ["number", "row", "transposed"])
def test_modes_of_the_caller(mode, layout):
    params = [p.requires_grad_() for p in params_of(NORMAL_LAW, layout, torch.float32)]
    grad = torch.rand(SHAPE)

    def run() -> list[Tensor]:
        sample = compiled.forward(NORMAL_LAW, key_of(5), params, SHAPE, torch.float32)[0]
        return [sample, *compiled.backward(NORMAL_LAW, key_of(5), (grad,), params, [True, True])]

    plain = run()
    with mode():
        inside = run()
    for a, b in zip(plain, inside, strict=True):
        assert not a.requires_grad
        assert not b.requires_grad
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


class LargestStorage(TorchDispatchMode):
    """Remembers the bytes of the largest storages that operators make."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self.sizes[storage.data_ptr()] = storage.nbytes()
        return result


@pytest.mark.parametrize("layout", ["number", "row", "row and column", "transposed"])
def test_nothing_of_the_samples_size_is_laid_out(layout):
    shape = (1024, 2048)
    params = params_of(NORMAL_LAW, layout, torch.float32, shape)
    given = {p.untyped_storage().data_ptr() for p in params}
    grad = torch.ones(()).expand(shape)
    with LargestStorage() as forward:
        sample = compiled.forward(NORMAL_LAW, key_of(5), params, shape, torch.float32)[0]
    with LargestStorage() as backward:
        grads = compiled.backward(NORMAL_LAW, key_of(5), (grad,), params, [True, True])
    given |= {t.untyped_storage().data_ptr() for t in (sample, grad, *grads)}
    for mode in (forward, backward):
        made = [size for pointer, size in mode.sizes.items() if pointer not in given]
        assert max(made, default=0) <= 4 * chunks.CHUNK


def test_runs_inside_an_operator_of_a_compiled_graph():
    @torch.library.custom_op("rsample_test::compiled_uniform", mutates_args=())
    def draw(low: Tensor, high: Tensor) -> Tensor:
        return compiled.forward(UNIFORM_LAW, key_of(5), [low, high], SHAPE, torch.float32)[0]

    @draw.register_fake
    def _(low, high):
        return low.new_empty(SHAPE)

    params = params_of(UNIFORM_LAW, "row", torch.float32)
    graph = torch.compile(lambda low, high: draw(low, high) * 2, backend="aot_eager", fullgraph=True)
    assert torch.equal(graph(*params), draw(*params) * 2)


# ------------------------------------------------------------------------------------------------------------ building


def test_many_threads_build_once(monkeypatch):
    law = replace(UNIFORM_LAW, name="uniform_built_once")
    source, built = compiled._source, []
    monkeypatch.setattr(compiled, "_source", lambda *args: built.append(args) or source(*args))
    params = params_of(law, "number", torch.float32)
    samples: list[Tensor] = []
    draw = lambda: samples.append(compiled.forward(law, key_of(5), params, SHAPE, torch.float32)[0])  # noqa: E731
    threads = [threading.Thread(target=draw) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len(samples) == 8
    assert all(torch.equal(samples[0], s) for s in samples)


def test_every_operation_in_the_table_is_translated():
    """One law whose gradients are all the operations that laws may use, each against torch itself."""

    def operations(u: Tensor, grad: Tensor, *params: Tensor) -> tuple[Tensor, ...]:
        x, y = grad, params[0]
        small = u * 0.5
        zero = torch.where(u == u, 0.0, 1.0)
        return (
            x + y, x - y, x * y, x / y, 1 - x, 2.0 / x, -x, x**2.0, 2.0**x, abs(x - 1), torch.addcmul(x, y, u),
            torch.maximum(x, y), torch.minimum(x, y), torch.exp(x), x.expm1(), torch.log(x), torch.log1p(x),
            torch.sqrt(x), torch.rsqrt(x), torch.reciprocal(x), torch.sin(x), torch.cos(x), torch.tan(small),
            torch.atan(x), torch.tanh(x), torch.where(x < y, x, y), torch.where(x <= y, 1.0, zero),
            (x > y).to(x.dtype), (x >= y).to(x.dtype), (x == y).to(x.dtype), (x != y).to(x.dtype),
            torch.where(u < 2, x, float("inf")),
        )  # fmt: skip

    count = len(operations(*torch.rand(3, 4).unbind()))
    names = tuple(f"p{i}" for i in range(count))
    law = Law("operations", names, UNIFORM, lambda u, *params: u + params[0], operations)
    shape = (4099,)
    generator = torch.Generator().manual_seed(0)
    params = [0.5 + torch.rand(shape, generator=generator) for _ in range(count)]
    grad = 0.5 + torch.rand(shape, generator=generator)
    ours = compiled.backward(law, key_of(5), (grad,), params, [True] * count)
    assert compiled.available(law, torch.float32)
    expected = reference.backward(law, key_of(5), (grad,), params, [True] * count)
    for i, (a, b) in enumerate(zip(ours, expected, strict=True)):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7, msg=lambda text, i=i: f"operation {i}: {text}")


@pytest.mark.parametrize(
    ("law", "missing"),
    [
        (replace(UNIFORM_LAW, name="untranslatable", reference=lambda u, low, high: torch.lerp(low, high, u)), "lerp"),
        (replace(UNIFORM_LAW, name="unheard", noise=replace(UNIFORM_LAW.noise, name="whisper")), "no noise whisper"),
    ],
)
def test_a_law_without_translation_warns_once_and_draws(law, missing):
    params = params_of(law, "number", torch.float32)
    with pytest.warns(RuntimeWarning, match=f"law {law.name}.*{missing}"):
        first = compiled.forward(law, key_of(5), params, SHAPE, torch.float32)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = compiled.forward(law, key_of(5), params, SHAPE, torch.float32)[0]
    assert not compiled.available(law, torch.float32)
    assert torch.equal(first, reference.forward(law, key_of(5), params, SHAPE, torch.float32)[0])
    assert torch.equal(first, again)


WITHOUT_COMPILER = """
import warnings
import torch

from rsample.kernels.engines.cpu import elementwise as compiled
from rsample.kernels.engines.eager import elementwise as reference
from rsample.kernels.laws.normal import NORMAL_LAW
from rsample.kernels.laws.uniform import UNIFORM_LAW

key = torch.tensor([1, 2], dtype=torch.uint64)
params = [torch.zeros(()), torch.ones(())]
grad = torch.ones(20000)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for law in (NORMAL_LAW, UNIFORM_LAW, NORMAL_LAW):
        sample = compiled.forward(law, key.view(torch.int64), params, (20000,), torch.float32)[0]
        assert torch.equal(sample, reference.forward(law, key, params, (20000,), torch.float32)[0])
        grads = compiled.backward(law, key.view(torch.int64), (grad,), params, [True, False])
        assert torch.equal(grads[0], reference.backward(law, key, (grad,), params, [True, False])[0])
        assert not compiled.available(law, torch.float32)
ours = [str(w.message) for w in caught if "rsample" in str(w.message)]
assert len(ours) == 1, ours
print("fell back")
"""


def test_without_a_compiler_the_reference_runs_after_one_warning(tmp_path):
    environment = dict(os.environ, CXX=str(tmp_path / "no-such-compiler"), TORCHINDUCTOR_CACHE_DIR=str(tmp_path))
    environment.pop("RSAMPLE_BACKEND", None)
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_COMPILER], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "fell back"


NORMAL_TO_FILE = """
import sys
import torch

from rsample.kernels.engines.cpu import elementwise as compiled
from rsample.kernels.laws.normal import NORMAL_LAW

key = torch.tensor([1, 2**32 - 9], dtype=torch.uint64)
assert compiled.available(NORMAL_LAW, torch.float32)
params = [torch.zeros(()), torch.ones(())]
torch.save(compiled.forward(NORMAL_LAW, key, params, (20001,), torch.float32)[0], sys.argv[1])
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the instruction sets are those of x86-64")
@pytest.mark.parametrize("capability", ["avx2", "default"])
def test_instruction_sets_draw_the_same_bits(capability, tmp_path):
    file = str(tmp_path / "sample.pt")
    environment = os.environ | {"ATEN_CPU_CAPABILITY": capability}
    subprocess.run([sys.executable, "-c", NORMAL_TO_FILE, file], env=environment, check=True, capture_output=True)
    params = [torch.zeros(()), torch.ones(())]
    ours = compiled.forward(NORMAL_LAW, key_of(1, 2**32 - 9), params, (20001,), torch.float32)[0]
    assert torch.equal(torch.load(file), ours)
