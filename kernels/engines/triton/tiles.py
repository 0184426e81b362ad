"""The pieces of a kernel that walks the elements of a sample: the key, its noise, its operands, their gradients.

A lane handles a group of neighbouring elements: those of one Philox block, or of two neighbouring blocks where the
sample has 2-byte elements, so that it always stores 16 bytes. A tile is one group per lane.
"""

# Triton's front end knows no starred tuples.
# ruff: noqa: RUF005, SIM108
from __future__ import annotations

from ...runtime.language import tl, triton
from ...stream.layout import strided_offset
from ...stream.philox import DEVICE_ROUNDS, philox4x32_words


@triton.jit
def load_key(seed_ptr, offset_ptr, in_memory, k0, k1, offset, KEY: tl.constexpr):
    """(k0, k1, first block): the two uint32 words of the seed and a uint64; for KEY see `launch.key_arguments`.

    The words are never cut out of a 64-bit register: LLVM would then carry all 64 bits into the first multiplications.
    """
    # The interpreter gives a number the type of its size.
    k0 = k0.to(tl.uint32)
    k1 = k1.to(tl.uint32)
    offset = offset.to(tl.uint64)
    if KEY != "value":
        held = in_memory != 0
        words = seed_ptr.to(tl.pointer_type(tl.uint32), bitcast=True)
        k0 = tl.load(words, mask=held, other=k0)
        k1 = tl.load(words + 1, mask=held, other=k1)
    if KEY == "tensor":
        offset = tl.load(seed_ptr + 1)
    if KEY == "state":
        offset = (tl.load(offset_ptr, mask=held, other=0).to(tl.uint64, bitcast=True) + offset) // 4
    return k0, k1, offset


@triton.jit
def interleave(x):
    """Concatenates what each lane holds, in lane order: a tuple of tensors (LANES,) to one of (LANES * len(x),).

    Nothing moves between lanes: the result's layout gives each lane its own neighbouring elements.
    """
    N: tl.constexpr = x[0].shape[0] * len(x)
    if len(x) == 2:
        return tl.join(x[0], x[1]).reshape(N)
    elif len(x) == 4:
        return tl.join(tl.join(x[0], x[2]), tl.join(x[1], x[3])).reshape(N)
    else:
        even = tl.join(tl.join(x[0], x[4]), tl.join(x[2], x[6]))
        odd = tl.join(tl.join(x[1], x[5]), tl.join(x[3], x[7]))
        return tl.join(even, odd).reshape(N)


@triton.jit
def block_noise(
    c0,
    c1,
    k0,
    k1,
    NOISE: tl.constexpr,
    DTYPE: tl.constexpr,
    HARDWARE: tl.constexpr,
    STEP: tl.constexpr = 0,
    STREAM: tl.constexpr = 0,
):
    """The noise of the Philox blocks with counter words (c0 + STEP, c1, 0, STREAM): a tuple in element order."""
    zero = tl.full((), 0, tl.uint32)
    stream = tl.full((), STREAM, tl.uint32)
    w0, w1, w2, w3 = philox4x32_words(c0, c1, zero, stream, k0, k1, DEVICE_ROUNDS, HARDWARE, STEP)
    return NOISE(w0, w1, w2, w3, DTYPE, HARDWARE)


@triton.jit
def lane_noise(
    c0,
    c1,
    k0,
    k1,
    NOISE: tl.constexpr,
    DTYPE: tl.constexpr,
    HARDWARE: tl.constexpr,
    STREAMS: tl.constexpr,
    STEP: tl.constexpr,
    SECOND: tl.constexpr = None,
):
    """The noise of each lane's STREAMS blocks from block (c0 + STEP, c1) on, where c0 does not carry.

    All of the first noise comes before all of the SECOND, if there is one.
    """
    x = ()
    for s in tl.static_range(STREAMS):
        x = x + block_noise(c0, c1, k0, k1, NOISE, DTYPE, HARDWARE, STEP + s)
    if SECOND is not None:
        for s in tl.static_range(STREAMS):
            x = x + block_noise(c0, c1, k0, k1, SECOND, DTYPE, HARDWARE, STEP + s, 1)
    return x


@triton.jit
def noise_of_tile(x, GROUP: tl.constexpr):
    """The noises of a tile in element order, a tuple of one or two, of what each lane holds for its GROUP elements."""
    if len(x) == GROUP:
        return (interleave(x),)
    else:
        return interleave(x[:GROUP]), interleave(x[GROUP:])


@triton.jit
def noise_of_lanes(x, K: tl.constexpr, GROUP: tl.constexpr):
    """The noises of each lane's element K, a tuple of one or two."""
    if len(x) == GROUP:
        return (x[K],)
    else:
        return x[K], x[GROUP + K]


@triton.jit
def of_law(noises):
    """The noises of elements as a law takes them, or the values of one that loops: the only one itself."""
    if len(noises) == 1:
        return noises[0]
    else:
        return noises


@triton.jit
def number_in_sample(element, sizes, strides, OPERANDS: tl.constexpr, WINDOW: tl.constexpr, WIDE: tl.constexpr):
    """The numbers of elements of a window in the whole sample, less that of its first; else the numbers themselves."""
    if WINDOW:
        return strided_offset(element.to(tl.uint64 if WIDE else tl.uint32), sizes, strides, OPERANDS, WIDE)
    else:
        return element


@triton.jit
def lane_blocks(
    block,
    t,
    offset,
    start,
    sizes,
    strides,
    OPERANDS: tl.constexpr,
    PER_BLOCK: tl.constexpr,
    WINDOW: tl.constexpr,
    WIDE: tl.constexpr,
    LANES: tl.constexpr,
    STREAMS: tl.constexpr,
):
    """The number of each lane's first block in tile t of a run, whose first element is `start` and first block `block`.

    Those of a window are found from the numbers of the elements, and count from the draw's `offset`.
    """
    lane = tl.arange(0, LANES) + t * LANES
    if WINDOW:
        element = number_in_sample(start + lane * (PER_BLOCK * STREAMS), sizes, strides, OPERANDS, WINDOW, WIDE)
        return offset + (element // PER_BLOCK).to(tl.uint64)
    else:
        return block + (lane * STREAMS).to(tl.uint64)


@triton.jit
def lane_noise_carrying(
    block,
    k0,
    k1,
    NOISE: tl.constexpr,
    SECOND: tl.constexpr,
    DTYPE: tl.constexpr,
    HARDWARE: tl.constexpr,
    STREAMS: tl.constexpr,
):
    """As :func:`lane_noise`, where the first block of a lane has the number `block`, a uint64."""
    x = ()
    for s in tl.static_range(STREAMS):
        number = block + s
        x = x + block_noise(number.to(tl.uint32), (number >> 32).to(tl.uint32), k0, k1, NOISE, DTYPE, HARDWARE)
    if SECOND is not None:
        for s in tl.static_range(STREAMS):
            number = block + s
            x = x + block_noise(
                number.to(tl.uint32), (number >> 32).to(tl.uint32), k0, k1, SECOND, DTYPE, HARDWARE, 0, 1
            )
    return x


@triton.jit
def load_scalars(ptrs, KINDS: tl.constexpr, COMPUTE: tl.constexpr):
    """Replaces the pointers to single values by the values, so that no loop loads them again."""
    operands = ()
    for j in tl.static_range(len(KINDS)):
        if KINDS[j] == "scalar":
            operands = operands + (tl.load(ptrs[j]).to(COMPUTE),)
        else:
            operands = operands + (ptrs[j],)
    return operands


@triton.jit
def load_elements(
    operands,
    element,
    mask,
    sizes,
    strides,
    KINDS: tl.constexpr,
    WIDE: tl.constexpr,
    COMPUTE: tl.constexpr,
    OTHER: tl.constexpr = None,
):
    """The operands of the elements numbered `element` (int64), one load per element: the masked path.

    Masked-off lanes read OTHER (undefined if None); scalars are unaffected.
    """
    INDEX: tl.constexpr = tl.uint64 if WIDE else tl.uint32
    values = ()
    for j in tl.static_range(len(KINDS)):
        if KINDS[j] == "scalar":
            values = values + (operands[j],)
        elif KINDS[j] == "dense":
            values = values + (tl.load(operands[j] + element, mask=mask, other=OTHER).to(COMPUTE),)
        else:
            offset = strided_offset(element.to(INDEX), sizes, strides, j, WIDE)
            values = values + (tl.load(operands[j] + offset, mask=mask, other=OTHER).to(COMPUTE),)
    return values


@triton.jit
def load_tile(
    operands,
    start,
    sizes,
    strides,
    U: tl.constexpr,
    KINDS: tl.constexpr,
    WIDE: tl.constexpr,
    COMPUTE: tl.constexpr,
    LANES: tl.constexpr,
    GROUP: tl.constexpr,
):
    """The operands of a full tile, the one U tiles after element `start`: values that broadcast to (LANES * GROUP,).

    Constant steps come last in an address, so that they end in the instruction, not in a register.
    """
    INDEX: tl.constexpr = tl.uint64 if WIDE else tl.uint32
    TILE: tl.constexpr = LANES * GROUP
    first = start.to(INDEX) + U * TILE + tl.arange(0, LANES).to(INDEX) * GROUP
    values = ()
    for j in tl.static_range(len(KINDS)):
        if KINDS[j] == "scalar":
            value = operands[j]
        elif KINDS[j] == "dense":
            ptrs = operands[j] + start
            if operands[j].dtype.element_ty == tl.bfloat16:
                # Unpacked by shift and mask, one instruction per number where Triton's conversion takes two.
                pairs = ptrs.to(tl.pointer_type(tl.uint32), bitcast=True) + tl.arange(0, TILE // 2)
                pair = tl.load(tl.multiple_of(pairs, 16) + U * (TILE // 2))
                low = (pair << 16).to(tl.float32, bitcast=True)
                high = (pair & 0xFFFF0000).to(tl.float32, bitcast=True)
                value = tl.join(low, high).reshape(TILE).to(COMPUTE)
            else:
                value = tl.load(tl.multiple_of(ptrs + tl.arange(0, TILE), 16) + U * TILE).to(COMPUTE)
        elif KINDS[j] == "rows":
            # The hints make one wide load of a lane's group, and then only its first address is computed.
            element = start.to(INDEX) + U * TILE + tl.arange(0, TILE).to(INDEX)
            ptrs = operands[j] + strided_offset(element, sizes, strides, j, WIDE)
            ptrs = tl.multiple_of(ptrs, min(16, GROUP * operands[j].dtype.element_ty.primitive_bitwidth // 8))
            value = tl.load(tl.max_contiguous(ptrs, GROUP)).to(COMPUTE)
        elif KINDS[j] == "repeated":
            one = tl.load(operands[j] + strided_offset(first, sizes, strides, j, WIDE)).to(COMPUTE)
            value = one[:, None].broadcast_to(LANES, GROUP).reshape(TILE)
        else:
            each = ()
            for k in tl.static_range(GROUP):
                offset = strided_offset(first + k, sizes, strides, j, WIDE)
                each = each + (tl.load(operands[j] + offset).to(COMPUTE),)
            value = interleave(each)
        values = values + (value,)
    return values


@triton.jit
def split_run(n, first_program, run, offset, TILE: tl.constexpr, UNROLL: tl.constexpr, PER_BLOCK: tl.constexpr):
    """A program's run of tiles: its first element and block, and how many passes are hot, tiles full, tiles in all.

    Hot are the passes of UNROLL full tiles, in a run where the low word of the block number does not carry.
    """
    start = (tl.program_id(0).to(tl.int64) + first_program) * run * TILE
    block = offset + (start // PER_BLOCK).to(tl.uint64)
    last = block + (run * (TILE // PER_BLOCK) - 1).to(tl.uint64)
    rest = n - start
    hot = tl.where((block >> 32) == (last >> 32), tl.minimum(rest // (UNROLL * TILE), run // UNROLL), 0).to(tl.int32)
    full = tl.minimum(rest // TILE, run).to(tl.int32)
    tiles = tl.minimum(tl.cdiv(rest, TILE), run).to(tl.int32)
    return start, block, hot, full, tiles


@triton.jit
def gradients(
    noises,
    values,
    TRANSFORM_GRAD: tl.constexpr,
    LOG_PROB_GRAD: tl.constexpr,
    AFFINE: tl.constexpr,
    HARDWARE: tl.constexpr,
):
    """The gradient of each parameter, of the noise's shape.

    `noises` is a tuple of one or two. `values` are the gradients of the sample and of its log-density, as far as their
    functions are not None, and the parameters, which an affine transform does not take.
    """
    x = of_law(noises)
    if LOG_PROB_GRAD is None:
        grads = TRANSFORM_GRAD(x, *values, HARDWARE)
    elif TRANSFORM_GRAD is None:
        grads = LOG_PROB_GRAD(x, *values, HARDWARE)
    else:
        if AFFINE:
            of_sample = TRANSFORM_GRAD(x, values[0], HARDWARE)
        else:
            of_sample = TRANSFORM_GRAD(x, values[0], *values[2:], HARDWARE)
        of_log_prob = LOG_PROB_GRAD(x, *values[1:], HARDWARE)
        grads = ()
        for j in tl.static_range(len(of_sample)):
            grads = grads + (of_sample[j] + of_log_prob[j],)
    shaped = ()
    for j in tl.static_range(len(grads)):
        shaped = shaped + (tl.broadcast_to(grads[j], noises[0].shape),)
    return shaped


@triton.jit
def element_of_block(w0, w1, w2, w3, number, NOISE: tl.constexpr, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    """The noise of the elements with these numbers, uint64, each from the words of its own Philox block."""
    if tl.float64 != DTYPE:
        # Elements 0 and 1 of a block are made of its first two words, 2 and 3 of the others.
        upper = (number & 2) != 0
        w0, w1 = tl.where(upper, w2, w0), tl.where(upper, w3, w1)
        w2, w3 = w0, w1
    x = NOISE(w0, w1, w2, w3, DTYPE, HARDWARE)
    return tl.where((number & 1) != 0, x[1], x[0])
