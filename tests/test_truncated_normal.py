"""The truncated normal where its interval makes it hard: far out, narrow, one-sided; and its interface."""

from __future__ import annotations

import math

import pytest
import torch
from kernel_cases import packed
from scipy import stats
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import Normal

from rsample.distributions.truncated_normal import TruncatedNormal
from rsample.kernels.engines.cpu import elementwise as compiled
from rsample.kernels.engines.eager import elementwise as reference
from rsample.kernels.engines.triton import elementwise
from rsample.kernels.laws.truncated_normal import TRUNCATED_NORMAL_LAW, truncated_normal_reference

INF = math.inf
KEY = torch.tensor([1, 2], dtype=torch.uint64)
# loc, scale, low, high
CASES = [
    (0, 1, -INF, INF),
    (0, 1, -1, 2),
    (1, 2, -4, 0.5),
    (0, 1, -3, 8),
    (0, 1, 0, INF),
    (0, 1, 8, 9),
    (0, 1, 30, 31),
    (0, 1, -INF, -20),
    (0, 1, 600, INF),
    (0, 1, 30, 30.0009765625),
    (0, 1, 0, 2.0**-20),
    (-0.5, 1, 0, 2.0**-20),
    (0, 1, 3, 3.0625),
    (0, 0.0009765625, 1, INF),
]
EXTREMES = [2.0**-33, 1e-6, 0.1, 0.4999, 0.5, -0.5, -0.49, -0.2, -1e-3, -(2.0**-33)]


def tail_mass(z: float) -> float:
    """log Q(z) in exact enough arithmetic."""
    mpmath = pytest.importorskip("mpmath")
    return mpmath.erfc(mpmath.mpf(z) / mpmath.sqrt(2)) / 2 if z < INF else mpmath.mpf(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_distribution_function_at_the_sample_is_the_uniform_number(case, dtype):
    """The sample against F(x) = u in 60 digits: its distance from the root, by one of Newton's steps."""
    mpmath = pytest.importorskip("mpmath")
    params = [torch.tensor(float(p), dtype=dtype) for p in case]
    noise = torch.tensor(EXTREMES, dtype=dtype)
    sample = truncated_normal_reference(noise, *params)
    assert ((sample >= params[2]) & (sample <= params[3])).all()
    assert sample.isfinite().all()
    with mpmath.workdps(60):
        loc, scale, low, high = (mpmath.mpf(p.item()) for p in params)
        a, b = (low - loc) / scale, (high - loc) / scale
        sign = -1 if a + b < 0 else 1
        near, far = (-b, -a) if sign < 0 else (a, b)
        for t, x in zip(noise.tolist(), sample.tolist(), strict=True):
            u = mpmath.mpf(t) if t > 0 else 1 + mpmath.mpf(t)
            v = 1 - u if sign < 0 else u
            z = sign * (mpmath.mpf(x) - loc) / scale
            mass = tail_mass(near) * (1 - v) + tail_mass(far) * v
            density = mpmath.exp(-z * z / 2) / mpmath.sqrt(2 * mpmath.pi)
            error = abs((tail_mass(z) - mass) / density) * scale
            # Rounding of the sample itself, and of probabilities near 1/2, which next to 0 no sample resolves.
            width = min(b - a, 1) * scale
            assert error <= torch.finfo(dtype).eps * (abs(mpmath.mpf(x)) + 8 * width), (t, x)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_samples_are_distributed_as_they_should(case):
    d = TruncatedNormal(*(torch.tensor(float(p), dtype=torch.float64) for p in case))
    # Of a single key: p far below 1 / number of cases is a failure.
    assert stats.kstest(d.cdf(d.sample((16_000,), key=KEY)).numpy(), "uniform").pvalue > 1e-4
    x = d.sample((1000,), key=KEY)
    torch.testing.assert_close(d.icdf(d.cdf(x)), x, rtol=1e-9, atol=1e-9 * d.stddev.item())
    standardised = (d.sample((16_000,), key=KEY) - d.mean) / d.stddev
    assert abs(standardised.mean().item()) < 0.03
    assert abs(standardised.var().item() - 1) < 0.1
    assert abs((d.entropy() + d.log_prob(x).mean()).item()) < 0.2


def test_moments_and_density_are_scipys():
    for low, high in [(-1.0, 2.0), (-INF, 0.5), (2.0, 4.0), (-3.0, INF)]:
        d = TruncatedNormal(torch.tensor(1.0, dtype=torch.float64), 2.0, low, high)
        theirs = stats.truncnorm((low - 1) / 2, (high - 1) / 2, loc=1, scale=2)
        assert d.mean.item() == pytest.approx(theirs.mean(), rel=1e-6)
        assert d.variance.item() == pytest.approx(theirs.var(), rel=1e-6)
        if math.isfinite(low) and math.isfinite(high):  # scipy's is NaN otherwise
            assert d.entropy().item() == pytest.approx(theirs.entropy(), rel=1e-6)
        x = d.sample((100,), key=KEY)
        torch.testing.assert_close(d.log_prob(x), torch.tensor(theirs.logpdf(x.numpy())), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(d.cdf(x), torch.tensor(theirs.cdf(x.numpy())), rtol=1e-9, atol=1e-12)


def test_without_bounds_it_is_the_normal_distribution():
    d = TruncatedNormal(torch.tensor([0.0, 3.0]), 2.0, -INF, INF)
    normal = Normal(torch.tensor([0.0, 3.0]), 2.0)
    x = d.sample((100,), key=KEY)
    torch.testing.assert_close(d.log_prob(x), normal.log_prob(x))
    torch.testing.assert_close(d.mean, normal.mean)
    torch.testing.assert_close(d.variance, normal.variance)
    torch.testing.assert_close(d.entropy(), normal.entropy())


@pytest.mark.parametrize("fixed", [(-1.0, 2.0), (-INF, 0.5), (8.0, INF), (0.0, 1e-3), (30.0, 31.0)])
def test_gradients(fixed):
    """Finite bounds have gradients, infinite ones none."""
    finite = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in (0.1, 1.2, *fixed) if abs(p) < INF]

    def with_bounds(*params):
        rest = iter(params)
        return TruncatedNormal(*(next(rest) if abs(p) < INF else p for p in (0.1, 1.2, *fixed)), validate_args=False)

    def sample(*params):
        return with_bounds(*params).rsample((3,), key=KEY)

    def joint(*params):
        return with_bounds(*params).rsample_with_log_prob((3,), key=KEY)

    for function in (sample, joint):
        assert gradcheck(function, finite, check_forward_ad=True, atol=1e-5, rtol=1e-4)
    assert gradgradcheck(sample, finite, atol=1e-4, rtol=1e-3)
    x, log_prob = with_bounds(*finite).sample_with_log_prob((50,), key=KEY)
    ours = torch.autograd.grad(log_prob.sum(), finite)
    theirs = torch.autograd.grad(with_bounds(*finite).log_prob(x).sum(), finite)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_infinite_bounds_give_no_nan():
    params = [torch.full((1000,), p, requires_grad=True) for p in (0.5, 2.0, -INF, INF)]
    d = TruncatedNormal(*params)
    x, log_prob = d.rsample_with_log_prob(key=KEY)
    grads = torch.autograd.grad((x + log_prob).sum(), params, create_graph=True)
    torch.testing.assert_close(grads[0], torch.ones(1000))
    assert all(g.isfinite().all() for g in grads)
    second = torch.autograd.grad(sum(g.sum() for g in grads), params[:2])
    assert all(g.isfinite().all() for g in second)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_dtypes_stay_within_the_bounds(dtype):
    low, high = torch.tensor([-1.0, 0.1, 5.0, -INF]).to(dtype), torch.tensor([2.0, 0.3, INF, -3.0]).to(dtype)
    x = TruncatedNormal(torch.zeros(4, dtype=dtype), 1.0, low, high).sample((4000,), key=KEY)
    assert x.dtype == dtype
    assert ((x >= low) & (x <= high) & x.isfinite()).all()


def test_interface():
    with pytest.raises(ValueError, match="low"):
        TruncatedNormal(0.0, 1.0, 2.0, 1.0)
    with pytest.raises(ValueError, match="scale"):
        TruncatedNormal(0.0, -1.0, 0.0, 1.0)
    with pytest.raises(RuntimeError, match="low of shape"):
        TruncatedNormal(torch.zeros(2), 1.0, torch.zeros(3), 1.0)
    loc = torch.zeros(3, requires_grad=True)
    d = TruncatedNormal(loc, 1.0, -1.0, torch.tensor([[1.0], [2.0]])).expand((4, 2, 3))
    assert type(d) is TruncatedNormal
    assert d.batch_shape == (4, 2, 3)
    x = d.rsample((5,))
    assert x.shape == (5, 4, 2, 3)
    assert d.support.check(x).all()
    x.sum().backward()
    assert loc.grad.shape == (3,)
    assert TruncatedNormal(0.0, 1.0, 0.0, 1.0).sample().shape == ()
    outside = TruncatedNormal(0.0, 1.0, 0.0, 1.0, validate_args=False).log_prob(torch.tensor([-0.5, 1.5]))
    assert (outside == -INF).all()
    with pytest.raises(ValueError, match="support"):
        TruncatedNormal(0.0, 1.0, 0.0, 1.0).log_prob(torch.tensor(1.5))


def hard_params(n: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Every kind of interval, element by element."""
    cases = [c for c in CASES if c[2] < 100]
    columns = zip(*(cases[i % len(cases)] for i in range(n)), strict=True)
    return [torch.tensor([float(p) for p in column]).to(dtype) for column in columns]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_draws_equal_the_reference(dtype):
    n = 5000
    params = hard_params(n, dtype)
    for law in (TRUNCATED_NORMAL_LAW, TRUNCATED_NORMAL_LAW.with_log_prob()):
        ours = compiled.forward(law, packed(), params, (n,), dtype)
        theirs = reference.forward(law, packed(), params, (n,), dtype)
        torch.testing.assert_close(ours, theirs, rtol=1e3 * torch.finfo(dtype).eps, atol=10 * torch.finfo(dtype).eps)


@pytest.mark.kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_draws_equal_the_reference(dtype, device):
    n = 600
    params = hard_params(n, dtype)
    on_device = [p.to(device) for p in params]
    law = TRUNCATED_NORMAL_LAW
    ours = elementwise.forward(law, (packed(),), on_device, (n,), dtype)[0].cpu()
    theirs = reference.forward(law, packed(), params, (n,), dtype)[0]
    deviation = torch.minimum(params[3] - params[2], params[1])
    bound = torch.finfo(dtype).eps * (2 * theirs.abs() + 16 * deviation)
    assert ((ours - theirs).abs() <= bound).all()
    if dtype == torch.float64:
        return
    grad = torch.ones(n, dtype=dtype)
    ours = elementwise.backward(law, (packed(),), (grad.to(device),), on_device, [True] * 4)
    theirs = reference.backward(law, packed(), (grad,), params, [True] * 4)
    z = (reference.forward(law, packed(), params, (n,), dtype)[0] - params[0]) / params[1]
    # That of scale is z times a difference of numbers near 1.
    for a, b in zip(ours, theirs, strict=True):
        assert ((a.cpu() - b).abs() <= 64 * torch.finfo(dtype).eps * (1 + z.abs())).all()
