"""Random numbers inside your own Triton kernels, in the stream of this package's draws.

A kernel that calls these functions draws the numbers that `rsample.distributions` draws with the same key: so a fused
kernel is tested against eager draws, number by number, and its backward makes the noise again instead of keeping it.

>>> import triton                                                             # doctest: +SKIP
>>> import triton.language as tl
>>> from rsample.kernels import device
>>> @triton.jit
... def add_noise(out_ptr, x_ptr, scale, seed, offset, n, BLOCK: tl.constexpr):
...     start = tl.program_id(0).to(tl.int64) * BLOCK
...     i = start + tl.arange(0, BLOCK)
...     x = tl.load(x_ptr + i, mask=i < n)
...     tl.store(out_ptr + i, x + scale * device.normal(seed, offset, start, BLOCK), mask=i < n)

The arguments that all have in common:

- `seed`, `offset`: the two numbers of a key tensor, as arguments of the kernel or loaded from the tensor.
- `start`: the number of the first element, a multiple of what a Philox block holds: 4 elements, 2 of float64, 8 of 16
  bits.
- `BLOCK`: how many elements, a power of two, at least 8 (16 for 16 bits).
- `index`, of the functions whose names end in `_at`: numbers of elements, integers of any shape in any order. Each
  takes a Philox block of its own, of which three quarters are left unused.
- `DTYPE`: float32 or float64, of the noise. Eager draws of 16-bit parameters take float32 noise, except uniform ones.
- `HARDWARE`: whether the special-function unit of NVIDIA GPUs is used; by default where it is there.

Results are in element order, of shape (BLOCK,) or that of `index`. Error bounds are those of float32 with that unit.
What the functions cost is asserted by tests (`bench/machine_code/budgets.py`). They know nothing of how this package
launches its kernels.
"""

from __future__ import annotations

from .engines.triton.tiles import element_of_block, interleave
from .formula.devicemath import log
from .runtime.language import HAS_TRITON, tl, triton
from .stream.noise import EXPONENTIAL, NORMAL, UNIFORM
from .stream.philox import DEVICE_ROUNDS, philox4x32_words

__all__ = [
    "bernoulli",
    "bernoulli_at",
    "bits",
    "bits16",
    "exponential",
    "exponential_at",
    "gumbel",
    "gumbel_at",
    "normal",
    "normal_at",
    "philox",
    "rademacher",
    "rademacher_at",
    "uniform",
    "uniform_at",
]

_uniform, _normal, _exponential = UNIFORM.device, NORMAL.device, EXPONENTIAL.device

if HAS_TRITON:
    from triton.runtime.jit import constexpr_function

    @constexpr_function
    def _allowed(hardware):
        """Whether the special-function unit is used: where nobody says, on NVIDIA GPUs."""
        if hardware is not None:
            return bool(hardware)
        target = tl.target_info.current_target()
        return not triton.knobs.runtime.interpret and target is not None and target.backend == "cuda"


@triton.jit
def philox(seed, offset, block, ATTEMPT: tl.constexpr = 0, STREAM: tl.constexpr = 0, HARDWARE: tl.constexpr = None):
    """The four 32-bit words of numbered Philox4x32-10 blocks (Salmon et al. 2011), uint32 of the shape of `block`.

    Args:
        seed, offset: the key; the first block is `offset`.
        block: how many blocks after it, integers of any shape.
        ATTEMPT, STREAM: counter words 2 and 3. The stream contract leaves STREAM of 4 and more to you.
    """
    ALLOWED: tl.constexpr = _allowed(HARDWARE)
    # The interpreter gives a number the type of its size.
    k = tl.cast(seed, tl.uint64)
    number = tl.cast(offset, tl.uint64) + tl.cast(block, tl.uint64)
    attempt, stream = tl.full((), ATTEMPT, tl.uint32), tl.full((), STREAM, tl.uint32)
    low, high = number.to(tl.uint32), (number >> 32).to(tl.uint32)
    return philox4x32_words(
        low, high, attempt, stream, k.to(tl.uint32), (k >> 32).to(tl.uint32), DEVICE_ROUNDS, ALLOWED
    )


@triton.jit
def _range(seed, offset, start, BLOCK: tl.constexpr, NOISE: tl.constexpr, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    """The noise of elements next to each other."""
    ALLOWED: tl.constexpr = _allowed(HARDWARE)
    PER_BLOCK: tl.constexpr = 2 if tl.float64 == DTYPE else 4
    block = start // PER_BLOCK + tl.arange(0, BLOCK // PER_BLOCK)
    w0, w1, w2, w3 = philox(seed, offset, block, HARDWARE=HARDWARE)
    return interleave(NOISE(w0, w1, w2, w3, DTYPE, ALLOWED))


@triton.jit
def _elements(seed, offset, index, NOISE: tl.constexpr, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    """The noise of numbered elements."""
    ALLOWED: tl.constexpr = _allowed(HARDWARE)
    number = tl.cast(index, tl.uint64)
    PER_BLOCK: tl.constexpr = 2 if tl.float64 == DTYPE else 4
    w0, w1, w2, w3 = philox(seed, offset, number // PER_BLOCK, HARDWARE=HARDWARE)
    return element_of_block(w0, w1, w2, w3, number, NOISE, DTYPE, ALLOWED)


@triton.jit
def bits(seed, offset, start, BLOCK: tl.constexpr, HARDWARE: tl.constexpr = None):
    """32 random bits for each element, uint32: the words of the blocks, one after the other."""
    block = start // 4 + tl.arange(0, BLOCK // 4)
    return interleave(philox(seed, offset, block, HARDWARE=HARDWARE))


@triton.jit
def bits16(seed, offset, start, BLOCK: tl.constexpr, HARDWARE: tl.constexpr = None):
    """16 random bits for each element, uint32 below 2**16: of each word the low half, then the high one."""
    block = start // 8 + tl.arange(0, BLOCK // 8)
    w0, w1, w2, w3 = philox(seed, offset, block, HARDWARE=HARDWARE)
    low = (w0 & 0xFFFF, w1 & 0xFFFF, w2 & 0xFFFF, w3 & 0xFFFF)
    return interleave((low[0], w0 >> 16, low[1], w1 >> 16, low[2], w2 >> 16, low[3], w3 >> 16))


@triton.jit
def uniform(seed, offset, start, BLOCK: tl.constexpr, DTYPE: tl.constexpr = tl.float32, HARDWARE: tl.constexpr = None):
    """Uniform numbers in [0, 1), multiples of 2**-24 (2**-53): bit for bit those of `Uniform(0, 1)`."""
    return _range(seed, offset, start, BLOCK, _uniform, DTYPE, HARDWARE)


@triton.jit
def uniform_at(seed, offset, index, DTYPE: tl.constexpr = tl.float32, HARDWARE: tl.constexpr = None):
    """:func:`uniform` of numbered elements."""
    return _elements(seed, offset, index, _uniform, DTYPE, HARDWARE)


@triton.jit
def normal(seed, offset, start, BLOCK: tl.constexpr, DTYPE: tl.constexpr = tl.float32, HARDWARE: tl.constexpr = None):
    """Standard normal numbers (Box and Muller 1958), within 2e-5 of those of `Normal(0, 1)`: up to 6.66 (9.49)."""
    return _range(seed, offset, start, BLOCK, _normal, DTYPE, HARDWARE)


@triton.jit
def normal_at(seed, offset, index, DTYPE: tl.constexpr = tl.float32, HARDWARE: tl.constexpr = None):
    """:func:`normal` of numbered elements."""
    return _elements(seed, offset, index, _normal, DTYPE, HARDWARE)


@triton.jit
def exponential(
    seed, offset, start, BLOCK: tl.constexpr, DTYPE: tl.constexpr = tl.float32, HARDWARE: tl.constexpr = None
):
    """Standard exponential numbers, within 3e-6 relative: in [2**-33, 22.9] ([2**-65, 45.1])."""
    return _range(seed, offset, start, BLOCK, _exponential, DTYPE, HARDWARE)


@triton.jit
def exponential_at(seed, offset, index, DTYPE: tl.constexpr = tl.float32, HARDWARE: tl.constexpr = None):
    """:func:`exponential` of numbered elements."""
    return _elements(seed, offset, index, _exponential, DTYPE, HARDWARE)


@triton.jit
def gumbel(seed, offset, start, BLOCK: tl.constexpr, DTYPE: tl.constexpr = tl.float32, HARDWARE: tl.constexpr = None):
    """Standard Gumbel numbers, -log(E) of :func:`exponential`, within 4e-6: in [-3.2, 22.9] ([-3.9, 45.1])."""
    return -log(exponential(seed, offset, start, BLOCK, DTYPE, HARDWARE), _allowed(HARDWARE))


@triton.jit
def gumbel_at(seed, offset, index, DTYPE: tl.constexpr = tl.float32, HARDWARE: tl.constexpr = None):
    """:func:`gumbel` of numbered elements."""
    return -log(exponential_at(seed, offset, index, DTYPE, HARDWARE), _allowed(HARDWARE))


@triton.jit
def bernoulli(
    seed,
    offset,
    start,
    probs,
    BLOCK: tl.constexpr,
    DTYPE: tl.constexpr = tl.float32,
    HARDWARE: tl.constexpr = None,
):
    """Whether :func:`uniform` is below `probs`, which broadcasts to (BLOCK,): exactly where `Bernoulli(probs)` is 1."""
    return uniform(seed, offset, start, BLOCK, DTYPE, HARDWARE) < probs


@triton.jit
def bernoulli_at(seed, offset, index, probs, DTYPE: tl.constexpr = tl.float32, HARDWARE: tl.constexpr = None):
    """:func:`bernoulli` of numbered elements."""
    return uniform_at(seed, offset, index, DTYPE, HARDWARE) < probs


@triton.jit
def rademacher(
    seed, offset, start, BLOCK: tl.constexpr, DTYPE: tl.constexpr = tl.float32, HARDWARE: tl.constexpr = None
):
    """1 or -1 with the same probability: 1 where `Bernoulli(0.5)` is."""
    return bernoulli(seed, offset, start, 0.5, BLOCK, DTYPE, HARDWARE).to(DTYPE) * 2.0 - 1.0


@triton.jit
def rademacher_at(seed, offset, index, DTYPE: tl.constexpr = tl.float32, HARDWARE: tl.constexpr = None):
    """:func:`rademacher` of numbered elements."""
    return bernoulli_at(seed, offset, index, 0.5, DTYPE, HARDWARE).to(DTYPE) * 2.0 - 1.0
