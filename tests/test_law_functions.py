"""Every law's functions on hard words: the reference and its device function against the reference in float64.

The words hold both ends of their range, the neighbourhoods of the middle, and random ones. Bounds are multiples of the
rounding of max(|x|, 1), as the classes state them. The reference itself is held against scipy's law: a sample is a
quantile of the noise, by one rule for all elements.
"""

import numpy as np
import oracle
import pytest
import torch
from examples import DISCRETE, EXAMPLES
from law_kernel import BLOCKS, run_law, second_words
from scipy import special

from rsample.kernels.stream.noise import (
    CENTERED,
    EXPONENTIAL,
    NATIVE_UNIFORM,
    NORMAL,
    UNIFORM,
    NoisePair,
    compute_dtype,
)

# log2 of the hardware: 2**-22 absolute next to 1 (CUDA's programming guide), where others are exact to an ulp or two.
# The emulator's is correctly rounded.
HARDWARE_SLACK = 8 if torch.cuda.is_available() else 1


def hard_words():
    """(blocks, 4) words: each end, the middle, neighbours of powers of two, and random ones, in random places."""
    rng = np.random.default_rng(0)
    ends = np.arange(32)
    powers = (2 ** np.arange(1, 32))[:, None] + np.array([-1, 0, 1])
    special = np.concatenate(
        [ends, 2**32 - 1 - ends, 2**31 + ends, 2**31 - 1 - ends, powers.ravel(), (2**32 - powers).ravel()]
    )
    special = special % 2**32
    words = np.concatenate([special, rng.integers(0, 2**32, 4096 - len(special))])
    return rng.permutation(words).reshape(-1, 4).astype(np.uint64)


WORDS = hard_words()
assert len(WORDS) % BLOCKS == 0


def exact_noise(kind, words, dtype):
    """The noise in float64, as the stream's words say, as a law takes it."""
    if isinstance(kind, NoisePair):
        return exact_noise(kind.first, words, dtype), exact_noise(kind.second, second_words(words), dtype)
    return torch.from_numpy(_exact_noise(kind, words, dtype))


def _exact_noise(kind, words, dtype):
    wide = dtype == torch.float64
    if kind.name == NORMAL.name:
        return oracle.normal64(words) if wide else oracle.normal32(words)
    if kind.name == UNIFORM.name:
        return oracle.uniform(words, 53 if wide else 24)
    if kind.name == NATIVE_UNIFORM.name:
        return oracle.uniform(
            words, {torch.float64: 53, torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}[dtype]
        )
    assert kind.name in (CENTERED.name, EXPONENTIAL.name)
    return getattr(oracle, kind.name)(words, 64 if wide else 32)


def noise_of(kind, words, dtype):
    """The noise as a law takes it."""
    if isinstance(kind, NoisePair):
        return noise_of(kind.first, words, dtype), noise_of(kind.second, second_words(words), dtype)
    columns = [torch.from_numpy(words[:, k].astype(np.int64)) for k in range(4)]
    return torch.stack(kind.from_words(tuple(columns), dtype), -1).reshape(-1)


def reference_run(law, words, params, cotangents, dtype):
    """As `law_kernel.run_law`, by the torch reference."""
    noise = noise_of(law.noise, words, dtype)
    sample, *rest = law.draw(noise, *params)
    if law.support is not None:
        sample = law.support.bounded(sample, params, *law.support.limits(dtype), law.support.step(dtype))
    rows = [sample.to(dtype).to(sample.dtype), *rest]
    if cotangents:
        rows += law.gradients(noise, *cotangents, *params)
    return [row.expand(params[0].shape) for row in rows]


def values_of(example, dtype):
    n = WORDS.size // (2 if dtype == torch.float64 else 1)
    return example.values((n,), compute_dtype(dtype), seed=1)


def check_sample(example, sample, dtype, coarse=0.0):
    params = values_of(example, dtype)
    wide = (p.double() for p in params)
    exact = example.law.reference(exact_noise(example.law.noise, WORDS, dtype), *wide).numpy()
    ours = sample.double().numpy()
    assert np.isfinite(ours).all()
    assert (ours > example.lower).all()
    assert (ours < example.upper).all()
    eps = torch.finfo(compute_dtype(dtype)).eps / 2
    error = np.abs(ours - exact)
    if example.family in DISCRETE:
        # A count changes where the formula comes within rounding of a whole number, a threshold where u does.
        assert (error > 0).mean() <= 2e-3
        assert error.max() <= 1
        return
    bound = HARDWARE_SLACK * example.rounding * eps * np.maximum(np.abs(exact), 1)
    narrow = torch.finfo(dtype).eps / 2 if dtype.itemsize == 2 else 0.0
    clamped = _within_support(example.law.support, exact, params, dtype)
    error = np.abs(ours - clamped)
    allowed = bound + coarse + narrow * np.abs(clamped) + (2.0**-25 if dtype == torch.float16 else 0)
    worst = (error / np.maximum(np.abs(exact), 1)).max() / eps
    print(f"{example}, {dtype}: within {worst:.1f} roundings of max(|x|, 1), of {example.rounding} allowed")
    assert (error <= allowed).all()


def _within_support(support, exact, params, dtype):
    if support is None:
        return exact
    limits, step = support.limits(dtype), support.step(dtype)
    return support.bounded(torch.from_numpy(exact), [p.double() for p in params], *limits, step).numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_reference_samples(example, dtype):
    params = values_of(example, dtype)
    check_sample(example, reference_run(example.law, WORDS, params, [], dtype)[0], dtype)


def level(kind, words):
    """The probability that the noise is less."""
    noise = exact_noise(kind, words, torch.float64).numpy()
    if kind.name == NORMAL.name:
        return special.ndtr(noise)
    if kind.name == EXPONENTIAL.name:
        return -np.expm1(-noise)
    return noise % 1


@pytest.mark.parametrize(
    "example", [e for e in EXAMPLES if e.family not in DISCRETE and not isinstance(e.law.noise, NoisePair)], ids=str
)
def test_samples_are_quantiles_of_the_noise(example):
    words = np.random.default_rng(5).integers(0, 2**32, (64, 4)).astype(np.uint64)
    numbers = {name: (low + high) / 2 + 0.1 for name, (low, high) in example.ranges.items()}
    params = [torch.tensor(x, dtype=torch.float64) for x in numbers.values()]
    x = example.law.reference(exact_noise(example.law.noise, words, torch.float64), *params).numpy()
    u, p = level(example.law.noise, words), example.scipy_law(**numbers).cdf(x)
    # Increasing, decreasing, or folded in the middle.
    rules = (u, 1 - u, np.abs(2 * u - 1), 1 - np.abs(2 * u - 1))
    assert min(np.abs(p - rule).max() for rule in rules) < 1e-12


def drawn_laws(law):
    """The draws that have gradients."""
    if law.density is None:
        yield law
        return
    yield law.with_score()
    if law.reference_grad is not None:
        yield law.with_log_prob()


@pytest.mark.kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_device_functions(example, dtype, device, runner):
    """Samples against the formula; densities and gradients against the reference in float64."""
    params = values_of(example, dtype)
    generator = torch.Generator().manual_seed(2)
    coarse = example.coarse if runner != "interpreter" and dtype != torch.float64 else 0.0
    for law in drawn_laws(example.law):
        cotangents = [torch.randn(params[0].shape, generator=generator).to(params[0].dtype) for _ in law.cotangents]
        ours = run_law(law, WORDS, params, cotangents, dtype, device)
        check_sample(example, ours[0], dtype, coarse)
        ours = ours if law.joint else torch.cat((ours[:1], ours[2:]))
        wide = [p.double() for p in params]
        theirs = reference_run(law, WORDS, params, cotangents, dtype)
        noise = exact_noise(law.noise, WORDS, dtype)
        exact = [*law.draw(noise, *wide)[1:], *law.gradients(noise, *(c.double() for c in cotangents), *wide)]
        for row, (x, reference, value) in enumerate(zip(ours[1:], theirs[1:], exact, strict=True)):
            value = value.expand(x.shape)
            assert torch.isfinite(x).all(), (law.name, row)
            if example.family in DISCRETE:
                # Where the count itself differs, so does its density.
                same = ours[0].double() == law.reference(noise, *wide)
                x, reference, value = x[same], reference[same], value[same]
            # Twice what float32 torch is off, and the hardware's functions.
            scale = value.abs() + value.abs().median() + 1
            error = ((x.double() - value).abs() / scale).max()
            rounding = ((reference.double() - value).abs() / scale).max()
            eps = torch.finfo(params[0].dtype).eps
            assert error <= 4 * rounding + 64 * HARDWARE_SLACK * eps + coarse, (
                law.name,
                row,
                float(error),
                float(rounding),
            )
