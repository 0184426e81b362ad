"""Bad arguments: a clear error that names the argument, nothing drawn, no generator state consumed."""

import pytest
import torch

import rsample.distributions as dist

NAN = float("nan")


@pytest.fixture(autouse=True)
def validation_on(monkeypatch):
    # torch.compile turns torch.distributions' default off for the rest of the process.
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)


@pytest.fixture(autouse=True)
def no_state_consumed():
    state = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (
            lambda: dist.Normal(torch.zeros(3), torch.ones(4)),
            RuntimeError,
            r"loc of shape \(3,\), scale of shape \(4,\)",
        ),
        (
            lambda: dist.Uniform(torch.zeros(3), torch.ones(4)),
            RuntimeError,
            r"low of shape \(3,\), high of shape \(4,\)",
        ),
        (lambda: dist.Normal(0.0, -1.0), ValueError, "scale"),
        (lambda: dist.Normal(0.0, torch.tensor([1.0, 0.0])), ValueError, "scale"),
        (lambda: dist.Normal(NAN, 1.0), ValueError, "loc"),
        (lambda: dist.Normal("0", 1.0), ValueError, "Number"),
        (lambda: dist.Uniform(1.0, 0.0), ValueError, "low"),
        (lambda: dist.Bernoulli(1.5), ValueError, "probs"),
        (lambda: dist.Bernoulli(torch.tensor([0.5, -0.1])), ValueError, "probs"),
        (lambda: dist.Bernoulli(NAN), ValueError, "probs"),
        (lambda: dist.Bernoulli(logits=NAN), ValueError, "logits"),
        (lambda: dist.Bernoulli(0.5, 0.0), ValueError, "probs.*logits"),
        (lambda: dist.Bernoulli(), ValueError, "probs.*logits"),
    ],
)
def test_constructors(make, error, match):
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize("method", ["sample", "rsample"])
@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"sample_shape": 3}, TypeError, "sample_shape must be a sequence of integers, got 3"),
        ({"sample_shape": (2.5,)}, TypeError, "sample_shape"),
        ({"sample_shape": "ab"}, TypeError, "sample_shape"),
        ({"sample_shape": None}, TypeError, "sample_shape"),
        ({"sample_shape": (-1,)}, ValueError, r"sample_shape must not have negative sizes, got \(-1,\)"),
        (
            {"sample_shape": torch.Size([2, -1])},
            ValueError,
            r"sample_shape must not have negative sizes, got \(2, -1\)",
        ),
        ({"key": 7}, TypeError, "key must be a tensor, got int"),
        (
            {"key": torch.zeros(3, dtype=torch.uint64)},
            ValueError,
            r"key has shape \(3,\).*uint64 tensor of shape \(2,\)",
        ),
        ({"key": torch.zeros(2, 2, dtype=torch.uint64)}, ValueError, r"key has shape \(2, 2\)"),
        ({"key": torch.zeros(2, dtype=torch.int64)}, ValueError, "key has .* dtype torch.int64"),
        ({"key": torch.zeros(2, dtype=torch.uint64, device="meta")}, RuntimeError, "key is on meta"),
        ({"generator": 7}, TypeError, "generator must be a torch.Generator, got int"),
        (
            {"generator": torch.Generator(), "key": torch.zeros(2, dtype=torch.uint64)},
            ValueError,
            "key and generator exclude each other",
        ),
    ],
)
def test_draws(method, arguments, error, match):
    generator = arguments.get("generator")
    before = generator.get_state() if isinstance(generator, torch.Generator) else None
    for d in (dist.Normal(torch.zeros(2), 1.0), dist.Uniform(0.0, 1.0)):
        with pytest.raises(error, match=match):
            getattr(d, method)(**arguments)
    with pytest.raises(error, match=match):
        dist.Bernoulli(0.5).sample(**arguments)
    if before is not None:
        assert torch.equal(generator.get_state(), before)


def test_generator_of_another_device(monkeypatch):
    meta = dist.Normal(torch.zeros(2, device="meta"), torch.ones(2, device="meta"), validate_args=False)
    with pytest.raises(RuntimeError, match="generator is on cpu, but the draw is on meta"):
        meta.sample(generator=torch.Generator())


def test_parameters_on_different_devices():
    loc, scale = torch.zeros(2), torch.ones(2, device="meta")
    with pytest.raises(RuntimeError, match="loc is on cpu, scale is on meta"):
        dist.Normal(loc, scale, validate_args=False).sample()


@pytest.mark.parametrize("dtype", [torch.complex64])
def test_parameters_that_are_not_floating_point(dtype):
    with pytest.raises(TypeError, match=f"loc must be float16, bfloat16, float32 or float64, got {dtype}"):
        dist.Normal(torch.zeros(2, dtype=dtype), torch.ones(2), validate_args=False).sample()
    with pytest.raises(TypeError, match=f"probs must be .* got {dtype}"):
        dist.Bernoulli(torch.zeros(2, dtype=dtype), validate_args=False).sample()


def test_the_error_of_a_failed_draw_leaves_the_distribution_usable():
    d = dist.Normal(0.0, 1.0)
    key = torch.tensor([1, 0], dtype=torch.uint64)
    expected = d.sample((3,), key=key)
    with pytest.raises(TypeError):
        d.sample(3, key=key)
    assert torch.equal(d.sample((3,), key=key), expected)
