"""Draws of two noises an element: the second is that of the blocks of stream 1, on every backend."""

import oracle
import pytest
import torch
from kernel_cases import NOISE_BOUND, OFFSET, SEED, packed, values

from rsample.kernels.draws.autograd import _standard
from rsample.kernels.engines.cpu import elementwise as compiled
from rsample.kernels.engines.eager import elementwise as reference
from rsample.kernels.engines.triton import elementwise
from rsample.kernels.laws.inverse_gaussian import INVERSE_GAUSSIAN_LAW
from rsample.kernels.laws.law import Law
from rsample.kernels.laws.standard_noise import standard_pair_law
from rsample.kernels.stream.noise import CENTERED, NORMAL, NoisePair, compute_dtype
from rsample.kernels.stream.philox_key import Key

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# The sum of x times one noise and y times the other.
LAW = Law(
    name="weighted_pair",
    parameters=("x", "y"),
    noise=NoisePair(NORMAL, CENTERED),
    reference=lambda noise, x, y: noise[0] * x + noise[1] * y,
    reference_grad=lambda noise, grad, x, y: (grad * noise[0], grad * noise[1]),
)


def of_stream(stream, blocks):
    """(blocks, 4) words of the key's blocks, by the last counter word."""
    number = [(OFFSET + i) % 2**64 for i in range(blocks)]
    counter = [[n % 2**32 for n in number], [n >> 32 for n in number], [0] * blocks, [stream] * blocks]
    return torch.tensor([word.tolist() for word in oracle.philox4x32(counter, (SEED % 2**32, SEED >> 32))]).T.numpy()


@pytest.mark.parametrize(("dtype", "bits"), [(torch.float32, 32), (torch.float64, 64)])
def test_the_second_noise_is_that_of_stream_1(dtype, bits):
    n = 4000
    one, zero = torch.ones((), dtype=dtype), torch.zeros((), dtype=dtype)
    blocks = n * bits // 128
    expected = oracle.centered(of_stream(1, blocks).astype("uint64"), bits)
    (ours,) = reference.forward(LAW, packed(), [zero, one], (n,), dtype)
    torch.testing.assert_close(ours.double(), torch.from_numpy(expected), rtol=2 * torch.finfo(dtype).eps, atol=0)
    (first,) = reference.forward(LAW, packed(), [one, zero], (n,), dtype)
    expected = reference.noise(NORMAL, packed().view(torch.int64), n, dtype)
    torch.testing.assert_close(first, expected, rtol=0, atol=1e-14 if dtype == torch.float64 else 4e-6)
    assert torch.equal(_standard(standard_pair_law(LAW.noise, 1)).forward((packed(),), [zero], (n,), dtype), ours)


def test_laws_with_the_same_noise_share_its_draws():
    """Even where they say differently how it moves: the draw of the noise alone does not depend on that."""
    for number in range(2):
        ours, theirs = (standard_pair_law(noise, number) for noise in (LAW.noise, INVERSE_GAUSSIAN_LAW.noise))
        assert _standard(ours) is _standard(theirs)


@pytest.mark.parametrize("n", [37, 20_011])
@pytest.mark.parametrize("dtype", DTYPES)
def test_compiled_draws_are_the_references(dtype, n):
    params = [values(n, dtype, "cpu", seed=j) for j in range(2)]
    (ours,) = compiled.forward(LAW, packed(), params, (n,), dtype)
    (expected,) = reference.forward(LAW, packed(), params, (n,), dtype)
    tolerance = {"rtol": torch.finfo(dtype).eps, "atol": 1e-14 if dtype == torch.float64 else 4e-6}
    torch.testing.assert_close(ours, expected, **tolerance)
    grad = values(n, dtype, "cpu", seed=5)
    grads = compiled.backward(LAW, Key((packed(),))[0], (grad,), params, (True, True))
    for g, e in zip(grads, reference.backward(LAW, packed(), (grad,), params, (True, True)), strict=True):
        torch.testing.assert_close(g, e, **tolerance)


# Both narrow dtypes compute in float32.
@pytest.mark.kernel
@pytest.mark.usefixtures("short_loops")
@pytest.mark.parametrize("dtype", DTYPES[:3])
@pytest.mark.parametrize(("shape", "first", "second"), [((7, 30, 24), (24,), (30, 1)), ((7, 30, 25), (30, 25), ())])
def test_kernels_draw_both(shape, first, second, dtype, device):
    """Hot passes, a tail, and sums over broadcast dimensions whose rows begin in the middle of a block, or do not."""
    params = [values(s, dtype, device, seed=j) for j, s in enumerate((first, second))]
    grad = values(shape, dtype, device, low=-1, high=2, seed=5)
    ours = elementwise.forward(LAW, (packed(),), params, shape, dtype)[0]
    cpu = [p.cpu() for p in params]
    eps, noise = torch.finfo(dtype).eps, NOISE_BOUND[compute_dtype(dtype)]
    expected = reference.forward(LAW, packed(), cpu, shape, dtype)[0]
    torch.testing.assert_close(ours.cpu(), expected, rtol=2 * eps, atol=2 * noise)
    grads = elementwise.backward(LAW, (packed(),), (grad,), params, (True, True))
    for g, e in zip(grads, reference.backward(LAW, packed(), (grad.cpu(),), cpu, (True, True)), strict=True):
        torch.testing.assert_close(g.cpu(), e, rtol=4 * eps, atol=1e-3 * (dtype != torch.float64) + 1e-11)
