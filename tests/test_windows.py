"""A window of a sample is what a draw of the whole sample has there, gradients included, on every backend."""

import pytest
import torch
from kernel_cases import packed, values

from rsample.distributions import Bernoulli, Exponential, Gamma, Normal, StudentT
from rsample.kernels import use_backend
from rsample.kernels.stream.layout import row_major_strides
from rsample.kernels.stream.philox_key import Key
from rsample.kernels.stream.window import Window, split_key, windowed_key

SHAPE, STARTS, SIZES = (6, 5, 48), (2, 0, 16), (3, 5, 24)
BOX = tuple(slice(start, start + size) for start, size in zip(STARTS, SIZES, strict=True))
FIRST = sum(start * stride for start, stride in zip(STARTS, row_major_strides(SHAPE), strict=True))
# Noise by ATen's fill, by words of each element, by loops, and two of an element.
SAMPLERS = [Normal._samplers[0], Exponential._samplers[0], Gamma._samplers[0], StudentT._samplers[0]]
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.law.name)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)


def key_of_box(law, dtype):
    block = FIRST // law.noise.elements_per_block(dtype)
    return windowed_key(Key((packed(offset=2**32 - 100 + block),)), 6 * 5 * 48, row_major_strides(SHAPE))


def box_of(tensor):
    """The part of a tensor that broadcasts to SHAPE which broadcasts to the box."""
    return tensor[tuple(cut if size > 1 else slice(None) for cut, size in zip(BOX, tensor.shape, strict=True))]


def check_window(sampler, dtype, device="cpu", shapes=((1, 1, 1), (1, 5, 1), (6, 1, 48), SHAPE)):
    """Compares forward and backward of a box with those of the whole draw, for parameters of every shape."""
    operators, law = sampler.operators, sampler.law
    params = [values(SHAPE, dtype, device, 0.5, 2.0, seed=i) for i in range(len(law.parameters))]
    whole = operators.forward((packed(),), params, SHAPE, dtype)
    key = key_of_box(law, dtype)
    for local in ([box_of(p) for p in params], [box_of(p).contiguous() for p in params]):
        part = operators.forward(key, local, SIZES, dtype)
        for x, of_whole in zip(part, whole, strict=True) if law.joint else [(part, whole)]:
            assert torch.equal(x, of_whole[BOX])
    if not law.cotangents:
        return
    grads = [torch.zeros(SHAPE, dtype=dtype, device=device) for _ in law.cotangents]
    for i, grad in enumerate(grads):
        grad[BOX] = values(SIZES, dtype, device, -1.0, 1.0, seed=i + 10)
    for j in range(len(params)):
        for shape in shapes:
            given = list(params)
            given[j] = params[j][tuple(slice(0, size) for size in shape)]
            needs = [i == j for i in range(len(params))]
            (expected,) = operators.backward((packed(),), grads, given, needs)
            (ours,) = operators.backward(key, [g[BOX] for g in grads], [box_of(p) for p in given], needs)
            # The sums are taken in another order: roundings of the compute dtype, then one of the gradient's own.
            eps = torch.finfo(dtype).eps if dtype.itemsize == 2 else 100 * torch.finfo(dtype).eps
            torch.testing.assert_close(ours, box_of(expected), rtol=eps, atol=10 * eps)


@pytest.mark.parametrize("backend", ["reference", "compiled"])
@every_dtype
@every_sampler
def test_a_window_is_part_of_the_whole_draw(sampler, dtype, backend):
    with use_backend(backend):
        check_window(sampler, dtype)


@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_windows_of_joint_and_discrete_draws(backend):
    with use_backend(backend):
        check_window(Normal._samplers[0].with_log_prob, torch.float32)
        check_window(Bernoulli._samplers[1], torch.float32)


@pytest.mark.kernel
@pytest.mark.usefixtures("short_loops")
@pytest.mark.parametrize(
    ("sampler", "dtype", "shapes"),
    [  # every layout with one noise; the other noises, which know nothing of layouts, with one of them each
        (SAMPLERS[0], torch.float32, ((1, 1, 1), (6, 1, 48), SHAPE)),
        (SAMPLERS[0], torch.bfloat16, (SHAPE,)),
        (SAMPLERS[1], torch.float64, ((6, 1, 48),)),
        (SAMPLERS[3], torch.bfloat16, ((1, 1, 1),)),
    ],
    ids=["normal-float32", "normal-bfloat16", "exponential-float64", "student_t-bfloat16"],
)
def test_kernels_draw_windows(sampler, dtype, shapes, device):
    with use_backend("triton"):
        check_window(sampler, dtype, device, shapes)


@pytest.mark.kernel
def test_kernels_draw_windows_of_draws_that_loop(device):
    with use_backend("triton"):
        check_window(Gamma._samplers[0], torch.float32, device, shapes=((1, 5, 1),))


def test_the_whole_sample_decides_on_the_backend():
    # Normal noise of the two backends differs in its last bits.
    params = [torch.zeros(()), torch.ones(())]
    whole = Normal._samplers[0].operators.forward((packed(),), params, (2**15,), torch.float32)
    part = Normal._samplers[0].operators.forward(windowed_key(Key((packed(),)), 2**15), params, (64,), torch.float32)
    assert torch.equal(part, whole[:64])


def test_a_window_walks_in_blocks():
    window = Window((96, 24, 1))
    assert window.runs((2, 4, 8)) == ([8, 8], [24, 1])  # the outer dimensions are one
    assert window.blocks((2, 4, 8), 4, torch.device("cpu")).tolist() == [[6 * i, 6 * i + 1] for i in range(8)]
    assert Window((7, 1)).runs((3, 1)) == ([3, 1], [7, 1])  # runs of one element
    whole = Key((packed(),))
    assert split_key(windowed_key(whole, 192, window.strides), 5)[1:] == (192, window)
    assert split_key(whole, 5) == (whole, 5, None)
    assert split_key(windowed_key(whole, 8), 5)[1:] == (8, None)
