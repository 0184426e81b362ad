"""The kernels of draws that loop against the reference, whose noise they must make from the same blocks."""

import pytest
import torch
from kernel_cases import packed

from rsample.kernels import use_backend
from rsample.kernels.draws.rows.dirichlet import DIRICHLET
from rsample.kernels.engines.eager import elementwise as reference
from rsample.kernels.engines.triton import loop_kernels
from rsample.kernels.laws.beta import BETA_LAW
from rsample.kernels.laws.fisher_snedecor import FISHER_SNEDECOR_LAW
from rsample.kernels.laws.gamma import GAMMA_LAW, INVERSE_GAMMA_LAW
from rsample.kernels.laws.von_mises import VON_MISES_LAW

pytestmark = pytest.mark.kernel

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# Of the positive parameters of a law; below 1, and to where a block's first attempt is nearly always accepted.
RANGES = {"small": (0.05, 0.9), "mixed": (0.3, 3.0), "large": (5.0, 1e6)}
LAWS = {law.name: law for law in (GAMMA_LAW, INVERSE_GAMMA_LAW, BETA_LAW, FISHER_SNEDECOR_LAW, VON_MISES_LAW)}
# Both narrow dtypes compute in float32: of float16, whose range is small, the law whose gradients overflow, and Gamma.
CASES = [
    pytest.param(law, dtype, id=f"{name}-{dtype}".replace("torch.", ""))
    for name, law in LAWS.items()
    for dtype in DTYPES
    if dtype != torch.float16 or law in (GAMMA_LAW, INVERSE_GAMMA_LAW)
]


def spread(shape, low, high, dtype, device, seed=0):
    n = torch.Size(shape).numel()
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    u = (order.double() + 0.5) / max(n, 1)
    return (low * (high / low) ** u).reshape(shape).to(device, dtype)


def parameters(law, shape, kind, dtype, device):
    low, high = RANGES[kind]
    high = min(high, torch.finfo(dtype).max / 4)
    return [spread(shape, low, high, dtype, device, seed) for seed in range(len(law.parameters))]


def agree(ours, expected, dtype, slack=2e-5):
    """Equal to rounding, except for a few where a uniform number within rounding of its threshold decided otherwise."""
    assert ours.shape == expected.shape
    assert ours.dtype == expected.dtype
    ours, expected = ours.cpu().double(), expected.double()
    assert not torch.isnan(ours).any()
    # A float16 gradient may overflow.
    ours, expected = (torch.where(torch.isinf(x), x.sign() * 2 * torch.finfo(dtype).max, x) for x in (ours, expected))
    eps = torch.finfo(dtype).eps
    tolerance = (1e-12 if dtype == torch.float64 else slack) + (eps if dtype.itemsize == 2 else 0)
    # Absolute where a result is small beside the others: near 0 a gradient or a t variate is a difference.
    scale = torch.clamp(expected.abs(), min=float(expected.abs().median()) if expected.numel() else 0.0)
    off = (ours - expected).abs() > tolerance * scale + torch.finfo(dtype).smallest_normal
    assert off.sum() <= 2e-3 * off.numel(), (ours[off], expected[off])


def drawn(law, params, shape, dtype, key):
    (ours,) = loop_kernels.forward(law, (key,), params, shape, dtype)
    (expected,) = reference.forward(law, key, [p.cpu() for p in params], shape, dtype)
    return ours, expected


@pytest.mark.parametrize("kind", RANGES)
@pytest.mark.parametrize(("law", "dtype"), CASES)
def test_samples(law, dtype, kind, device):
    # A log of up to |log(1e-38)| rounded in float32 makes as many roundings of the sample.
    shape = (1039,)
    agree(*drawn(law, parameters(law, shape, kind, dtype, device), shape, dtype, packed()), dtype, slack=4e-5)


# One number, dense, broadcast along either dimension, strided.
@pytest.mark.parametrize("shape", [(7, 33), (1, 1), (0, 5), (3, 128)])
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_broadcast_parameters_and_their_gradients(law, shape, device):
    dtype = torch.float32
    rows, columns = shape
    first = spread((rows, 1), 0.4, 4.0, dtype, device)
    second = spread((columns, 2), 0.5, 2.0, dtype, device)[:, 0]
    others = [torch.tensor(1.5, device=device)] * (len(law.parameters) - 2)
    for params in (
        [first, second, *others],
        [torch.tensor(0.7, device=device), spread(shape, 0.5, 2.0, dtype, device), *others],
    ):
        agree(*drawn(law, params, shape, dtype, packed()), dtype)
        check_gradients(law, params, shape, dtype, slack=1e-3)


def check_gradients(law, params, shape, dtype, slack):
    grad = spread(shape, 0.5, 2.0, dtype, params[0].device, seed=9)
    needs = [True] * len(params)
    ours = loop_kernels.backward(law, (packed(),), (grad,), params, needs)
    again = loop_kernels.backward(law, (packed(),), (grad,), params, needs)
    expected = reference.backward(law, packed(), (grad.cpu(),), [p.cpu() for p in params], needs)
    for g, g2, e, p in zip(ours, again, expected, params, strict=True):
        assert g.shape == p.shape
        assert torch.equal(g, g2)
        agree(g, e, dtype, slack)


@pytest.mark.parametrize("kind", RANGES)
@pytest.mark.parametrize(("law", "dtype"), CASES)
def test_gradients(law, dtype, kind, device, runner):
    if runner == "interpreter" and dtype.itemsize == 2 and kind != "mixed":
        pytest.skip("narrow dtypes compute as float32 does; the emulator runs them in every range")
    shape = (519,)
    check_gradients(law, parameters(law, shape, kind, dtype, device), shape, dtype, slack=2e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dirichlet_and_its_gradient(dtype, device):
    low, high = RANGES["mixed"]
    concentration = spread((5, 1, 7), low, 40 * high, dtype, device)
    grad = spread((5, 30, 7), 0.5, 2.0, dtype, device, seed=9)
    results = []
    for backend, where in (("triton", device), ("reference", "cpu")):
        with use_backend(backend):
            given = concentration.detach().to(where).requires_grad_()
            x = DIRICHLET((given,), (5, 30, 7), key=packed().to(where), differentiable=True)
            results.append((x.detach(), *torch.autograd.grad(x, given, grad.to(where))))
    for ours, expected in zip(*results, strict=True):
        # A gradient is a sum of 30 of either sign.
        agree(ours, expected, dtype, slack=2e-4)


def test_invalid_parameters_end_the_loop(device):
    concentration = torch.tensor([float("nan"), -1.0, 0.0, float("inf"), 2.0], device=device)
    (x,) = loop_kernels.forward(
        GAMMA_LAW, (packed(),), [concentration, torch.ones(5, device=device)], (5,), torch.float32
    )
    assert torch.isnan(x[0])
    assert torch.isfinite(x[4])
