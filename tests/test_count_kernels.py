"""The kernels of draws that count against the reference, whose noise they must make from the same blocks."""

import pytest
import torch
from kernel_cases import packed

from rsample.kernels.engines.eager import elementwise as reference
from rsample.kernels.engines.triton import loop_kernels
from rsample.kernels.laws.binomial import BINOMIAL_LOGITS_LAW, BINOMIAL_PROBS_LAW
from rsample.kernels.laws.negative_binomial import NEGATIVE_BINOMIAL_LOGITS_LAW, NEGATIVE_BINOMIAL_PROBS_LAW
from rsample.kernels.laws.poisson import POISSON_LAW

pytestmark = pytest.mark.kernel

# Parameters of which some elements are counted by arrivals and others by rejection.
CASES = {
    POISSON_LAW: [(0.01, 300.0)],
    BINOMIAL_PROBS_LAW: [(1.0, 200.0), (0.02, 0.98)],
    BINOMIAL_LOGITS_LAW: [(1.0, 200.0), (-4.0, 4.0)],
    NEGATIVE_BINOMIAL_PROBS_LAW: [(0.2, 20.0), (0.02, 0.95)],
    NEGATIVE_BINOMIAL_LOGITS_LAW: [(0.2, 20.0), (-4.0, 3.0)],
}
# Both narrow dtypes compute in float32: of float16, whose range is small, a law that counts without a bound.
SAMPLES = [
    pytest.param(law, dtype, id=f"{law.name}-{dtype}".replace("torch.", ""))
    for law in CASES
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16)
    if dtype != torch.float16 or law is POISSON_LAW
]
each_law = pytest.mark.parametrize("law", CASES, ids=lambda law: law.name)


def spread(shape, low, high, dtype, device, seed=0):
    n = torch.Size(shape).numel()
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    u = (order.double() + 0.5) / max(n, 1)
    x = low + (high - low) * u**2
    return (x.round() if high >= 200 and low == 1 else x).reshape(shape).to(device, dtype)


def drawn(law, params, shape, dtype):
    (ours,) = loop_kernels.forward(law, (packed(),), params, shape, dtype)
    (expected,) = reference.forward(law, packed(), [p.cpu() for p in params], shape, dtype)
    return ours.cpu(), expected


def agree(ours, expected):
    """Equal, except for those few where a number within rounding of its threshold decided otherwise."""
    assert ours.shape == expected.shape
    assert ours.dtype == expected.dtype
    assert ours.isfinite().all()
    # Triton's interpreter rounds a count that lies halfway between two half-precision numbers otherwise.
    half = torch.finfo(ours.dtype).eps if ours.dtype.itemsize == 2 else 0.0
    off = (ours - expected).abs() > half * expected
    assert off.sum() <= 5e-3 * off.numel(), (ours[off], expected[off])


@pytest.mark.parametrize(("law", "dtype"), SAMPLES)
def test_samples(law, dtype, device):
    shape = (519,)
    params = [spread(shape, *ends, dtype, device, seed) for seed, ends in enumerate(CASES[law])]
    agree(*drawn(law, params, shape, dtype))


# Dense, broadcast along either dimension, one number, strided; sizes that are odd, none and full tiles.
@pytest.mark.parametrize("shape", [(7, 33), (0, 5), (1, 128)])
@each_law
def test_broadcast_parameters(law, shape, device):
    dtype, ends = torch.float32, CASES[law]
    rows, columns = shape
    column = spread((rows, 1), *ends[0], dtype, device)
    row = spread((columns, 2), *ends[-1], dtype, device)[:, 0]
    whole = spread(shape, *ends[-1], dtype, device)
    one = torch.tensor(12.0, device=device)
    agree(*drawn(law, [column, row][: len(ends)], shape, dtype))
    agree(*drawn(law, [one, whole][-len(ends) :], shape, dtype))


def test_ends_of_the_parameters_range(device):
    def draw(law, *params):
        given = [torch.tensor(p, device=device) for p in params]
        return loop_kernels.forward(law, (packed(),), given, given[0].shape, torch.float32)[0].tolist()

    inf = float("inf")
    most = pytest.approx(torch.finfo(torch.float32).max)
    assert draw(POISSON_LAW, [0.0, -1.0, 3e38, inf]) == [0, 0, pytest.approx(3e38), most]
    n, probs = [0.0, 0.0, 7.0, 7.0, 1e6, 1e6, 7.0], [0.3, 1.0, 0.0, 1.0, 0.0, 1.0, -0.5]
    assert draw(BINOMIAL_PROBS_LAW, n, probs) == [0, 0, 0, 7, 0, 1e6, 0]
    assert draw(BINOMIAL_LOGITS_LAW, n[1:6], [inf, -inf, inf, -200.0, 200.0]) == [0, 0, 7, 0, 1e6]
    assert draw(NEGATIVE_BINOMIAL_PROBS_LAW, [0.0, 0.0, 3.0], [0.5, 0.0, 0.0]) == [0, 0, 0]
    assert draw(NEGATIVE_BINOMIAL_LOGITS_LAW, [0.0, 3.0, 3.0], [200.0, -200.0, 200.0]) == [0, 0, most]


@each_law
def test_nan_ends_the_loop(law, device):
    nan, ones = torch.tensor([float("nan"), 0.5], device=device), torch.ones(2, device=device)
    for j in range(len(law.parameters)):
        params = [nan if i == j else ones * 0.5 for i in range(len(law.parameters))]
        (x,) = loop_kernels.forward(law, (packed(),), params, (2,), torch.float32)
        assert torch.isnan(x[0])
        assert torch.isfinite(x[1])
