"""The kernels of draws that are a matrix product, and of the gradient of the factor; see product.py."""

# Names in capitals are compile-time constants of Triton's, not Yoda's, and choose what is compiled.
# ruff: noqa: SIM102, SIM300
from __future__ import annotations

from ...runtime.language import tl, triton
from ...stream.layout import strided_offset
from ...stream.noise import NORMAL
from ...stream.philox import DEVICE_ROUNDS, philox4x32_words
from .tiles import load_key

normal = NORMAL.device


@triton.jit
def noise_tile(
    row,
    first,
    columns,
    offset,
    k0,
    k1,
    STREAM: tl.constexpr,
    GROUP: tl.constexpr,
    DTYPE: tl.constexpr,
    HARDWARE: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Standard normal noise of rows numbered `row` (int64) in columns first .. first + COLUMNS: (rows, COLUMNS).

    The noise has `columns` columns. GROUP of them, which divides `columns`, are made of one Philox block: all that the
    block feeds, or the half or the one of its elements that the row and the column ask for.
    """
    PER_BLOCK: tl.constexpr = 2 if DTYPE == tl.float64 else 4
    ROWS: tl.constexpr = row.shape[0]
    column = first + tl.arange(0, COLUMNS // GROUP) * GROUP
    element = row.to(tl.uint64)[:, None] * columns.to(tl.uint64) + column.to(tl.uint64)[None, :]
    block = offset + element // PER_BLOCK
    zero = tl.full((), 0, tl.uint32)
    stream = tl.full((), STREAM, tl.uint32)
    w0, w1, w2, w3 = philox4x32_words(
        block.to(tl.uint32), (block >> 32).to(tl.uint32), zero, stream, k0, k1, DEVICE_ROUNDS, HARDWARE
    )
    place = element.to(tl.uint32)
    if DTYPE == tl.float64:
        x = normal(w0, w1, w2, w3, DTYPE, HARDWARE)
        if GROUP == 2:
            return tl.join(x[0], x[1]).reshape(ROWS, COLUMNS)
        else:
            return tl.where((place & 1) == 0, x[0], x[1])
    elif GROUP == 4:
        x = normal(w0, w1, w2, w3, DTYPE, HARDWARE)
        return tl.join(tl.join(x[0], x[2]), tl.join(x[1], x[3])).reshape(ROWS, COLUMNS)
    else:
        # Both pairs are the same one, which the compiler makes once.
        low = (place & 2) == 0
        radius, angle = tl.where(low, w0, w2), tl.where(low, w1, w3)
        x = normal(radius, angle, radius, angle, DTYPE, HARDWARE)
        if GROUP == 2:
            return tl.join(x[0], x[1]).reshape(ROWS, COLUMNS)
        else:
            return tl.where((place & 1) == 0, x[0], x[1])


@triton.jit
def walked(number, sizes, strides, OPERAND: tl.constexpr, WIDE: tl.constexpr):
    """Where an operand lies for a number of a walk, int64."""
    INDEX: tl.constexpr = tl.uint64 if WIDE else tl.uint32
    return strided_offset(number.to(INDEX), sizes, strides, OPERAND, WIDE).to(tl.int64)


@triton.jit(
    do_not_specialize=[
        "rows",
        "row_step",
        "loc_row_step",
        "scale_row_step",
        "loc_step",
        "scale_step",
        "row_factor_step",
        "column_factor_step",
        "shared",
        "n",
        "k",
        "in_memory",
        "k0",
        "k1",
        "offset",
    ],
    do_not_specialize_on_alignment=[
        "out_ptr",
        "norm_ptr",
        "loc_ptr",
        "factor_ptr",
        "scale_ptr",
        "seed_ptr",
        "offset_ptr",
    ],
)
def product_forward_kernel(
    out_ptr,
    norm_ptr,
    loc_ptr,
    factor_ptr,
    scale_ptr,
    own_sizes,
    own_strides,
    shared_sizes,
    shared_strides,
    shared: tl.int32,
    rows: tl.int64,
    row_step: tl.int64,
    loc_row_step: tl.int64,
    scale_row_step: tl.int64,
    loc_step: tl.int64,
    scale_step: tl.int64,
    row_factor_step: tl.int64,
    column_factor_step: tl.int64,
    n: tl.int32,
    k: tl.int32,
    seed_ptr,
    offset_ptr,
    in_memory: tl.int32,
    k0: tl.uint32,
    k1: tl.uint32,
    offset: tl.uint64,
    TRIANGULAR: tl.constexpr,
    STREAM: tl.constexpr,
    GROUP: tl.constexpr,
    OWN_GROUP: tl.constexpr,
    ORDER: tl.constexpr,
    WIDE: tl.constexpr,
    KEY: tl.constexpr,
    HARDWARE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """A tile of BLOCK_ROWS rows and BLOCK_N columns of the sample.

    Operands of the walks are the row's number, the factor, loc and the scale. ORDER names the dimension along which
    the factor's elements lie side by side: "row", "column" or "neither".
    """
    DTYPE: tl.constexpr = out_ptr.dtype.element_ty
    COMPUTE: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    k0, k1, offset = load_key(seed_ptr, offset_ptr, in_memory, k0, k1, offset, KEY)
    if ORDER == "row":
        column_factor_step = 1
    elif ORDER == "column":
        row_factor_step = 1
    # The columns' tiles of a triangular factor are taken from the longest on.
    column_tile = tl.num_programs(1) - 1 - tl.program_id(1)
    tiles = tl.cdiv(rows, BLOCK_ROWS).to(tl.int32)
    number, first_row = tl.program_id(0) // tiles, (tl.program_id(0) % tiles).to(tl.int64) * BLOCK_ROWS
    own, other = number // shared, number % shared
    row0 = walked(own, own_sizes, own_strides, 0, WIDE) + walked(other, shared_sizes, shared_strides, 0, WIDE)
    row0 += first_row * row_step
    factor_ptr += walked(own, own_sizes, own_strides, 1, WIDE)

    # The rows count from the tile's first on: as 64-bit numbers, those that a thread stores would have to live through
    # the loop, and would not fit into registers beside the product.
    r = tl.arange(0, BLOCK_ROWS).to(tl.int64)
    row = row0 + r * row_step
    column = column_tile * BLOCK_N + tl.arange(0, BLOCK_N)
    end = k
    if TRIANGULAR:
        end = tl.minimum(k, (column_tile + 1) * BLOCK_N)
    if BLOCK_ROWS == 1:
        products = tl.zeros((BLOCK_N, BLOCK_K), COMPUTE)
    else:
        x = tl.zeros((BLOCK_ROWS, BLOCK_N), COMPUTE)
    for first in range(0, end, BLOCK_K):
        i = first + tl.arange(0, BLOCK_K)
        eps = noise_tile(row, first, k, offset, k0, k1, STREAM, GROUP, DTYPE, HARDWARE, BLOCK_K)
        if BLOCK_ROWS == 1:
            mask = (column < n)[:, None] & (i < k)[None, :]
            if TRIANGULAR:
                mask = mask & (i[None, :] <= column[:, None])
            at = column.to(tl.int64)[:, None] * row_factor_step + i.to(tl.int64)[None, :] * column_factor_step
            products += tl.load(factor_ptr + at, mask=mask, other=0.0).to(COMPUTE) * eps
        else:
            mask = (column < n)[None, :] & (i < k)[:, None]
            if TRIANGULAR:
                mask = mask & (i[:, None] <= column[None, :])
            at = column.to(tl.int64)[None, :] * row_factor_step + i.to(tl.int64)[:, None] * column_factor_step
            matrix = tl.load(factor_ptr + at, mask=mask, other=0.0).to(COMPUTE)
            x = tl.dot(eps, matrix, x, input_precision="ieee", out_dtype=COMPUTE)
    if BLOCK_ROWS == 1:
        x = tl.sum(products, axis=1)[None, :]

    at = walked(own, own_sizes, own_strides, 2, WIDE) + walked(other, shared_sizes, shared_strides, 2, WIDE)
    at = (at + first_row * loc_row_step + r * loc_row_step)[:, None] + (column * loc_step)[None, :]
    exists = r < rows - first_row
    mask = exists[:, None] & (column < n)[None, :]
    x += tl.load(loc_ptr + at, mask=mask, other=0.0).to(COMPUTE)
    if scale_ptr is not None:
        at = walked(own, own_sizes, own_strides, 3, WIDE) + walked(other, shared_sizes, shared_strides, 3, WIDE)
        at = (at + first_row * scale_row_step + r * scale_row_step)[:, None] + (column * scale_step)[None, :]
        scale = tl.load(scale_ptr + at, mask=mask, other=0.0).to(COMPUTE)
        x += scale * noise_tile(row, column_tile * BLOCK_N, n, offset, k0, k1, 0, OWN_GROUP, DTYPE, HARDWARE, BLOCK_N)
    at = (row0 * n + r * (row_step * n))[:, None] + column[None, :]
    tl.store(out_ptr + at, x.to(DTYPE), mask=mask)
    if norm_ptr is not None:
        if column_tile == 0:
            # A loop of its own: the sum would not fit into registers beside the product. The first tile of a triangular
            # factor is the shortest.
            squares = tl.zeros((BLOCK_ROWS, BLOCK_K), COMPUTE)
            for first in range(0, k, BLOCK_K):
                eps = noise_tile(row, first, k, offset, k0, k1, STREAM, GROUP, DTYPE, HARDWARE, BLOCK_K)
                within = first + tl.arange(0, BLOCK_K) < k
                squares += tl.where(within[None, :], eps * eps, 0.0)
            tl.store(norm_ptr + row, tl.sum(squares, axis=1).to(DTYPE), mask=exists)


@triton.jit(
    do_not_specialize=[
        "rows",
        "row_step",
        "grad_row_step",
        "grad_step",
        "tiles",
        "run",
        "n",
        "k",
        "in_memory",
        "k0",
        "k1",
        "offset",
    ],
    do_not_specialize_on_alignment=["out_ptr", "grad_ptr", "seed_ptr", "offset_ptr"],
)
def product_backward_kernel(
    out_ptr,
    grad_ptr,
    own_sizes,
    own_strides,
    shared_sizes,
    shared_strides,
    rows: tl.int64,
    row_step: tl.int64,
    grad_row_step: tl.int64,
    grad_step: tl.int64,
    tiles: tl.int32,
    run: tl.int32,
    n: tl.int32,
    k: tl.int32,
    seed_ptr,
    offset_ptr,
    in_memory: tl.int32,
    k0: tl.uint32,
    k1: tl.uint32,
    offset: tl.uint64,
    TRIANGULAR: tl.constexpr,
    STREAM: tl.constexpr,
    GROUP: tl.constexpr,
    WIDE: tl.constexpr,
    KEY: tl.constexpr,
    HARDWARE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """A tile of grad^T eps, summed over `run` of a factor's `tiles` tiles of rows: out[part, factor, n, k].

    Operands of the walks are the row's number and the gradient.
    """
    DTYPE: tl.constexpr = grad_ptr.dtype.element_ty
    COMPUTE: tl.constexpr = tl.float64 if DTYPE == tl.float64 else tl.float32
    k0, k1, offset = load_key(seed_ptr, offset_ptr, in_memory, k0, k1, offset, KEY)
    across = tl.cdiv(k, BLOCK_K)
    matrix_tiles = tl.cdiv(n, BLOCK_N) * across
    tile, factor = tl.program_id(0) % matrix_tiles, tl.program_id(0) // matrix_tiles
    n_tile, k_tile = tile // across, tile % across
    column = n_tile * BLOCK_N + tl.arange(0, BLOCK_N)
    i = k_tile * BLOCK_K + tl.arange(0, BLOCK_K)
    part = tl.program_id(1)
    r = tl.arange(0, BLOCK_ROWS).to(tl.int64)  # from a tile's first row on
    own_row = walked(factor, own_sizes, own_strides, 0, WIDE)
    own_grad = walked(factor, own_sizes, own_strides, 1, WIDE)
    run_tiles = tl.cdiv(rows, BLOCK_ROWS).to(tl.int32)

    first, last = part * run, tl.minimum((part + 1) * run, tiles)
    if TRIANGULAR:
        last = tl.where(k_tile * BLOCK_K < (n_tile + 1) * BLOCK_N, last, first)  # nothing lies above the diagonal
    x = tl.zeros((BLOCK_N, BLOCK_K), COMPUTE)
    for t in range(first, last):
        other = t // run_tiles
        first_row = (t % run_tiles).to(tl.int64) * BLOCK_ROWS
        row = own_row + walked(other, shared_sizes, shared_strides, 0, WIDE) + first_row * row_step + r * row_step
        at = own_grad + walked(other, shared_sizes, shared_strides, 1, WIDE) + first_row * grad_row_step
        at += r * grad_row_step
        eps = noise_tile(row, k_tile * BLOCK_K, k, offset, k0, k1, STREAM, GROUP, DTYPE, HARDWARE, BLOCK_K)
        at = at[None, :] + (column * grad_step)[:, None]
        mask = (column < n)[:, None] & (r < rows - first_row)[None, :]
        grad = tl.load(grad_ptr + at, mask=mask, other=0.0).to(COMPUTE)
        x = tl.dot(grad, eps, x, input_precision="ieee", out_dtype=COMPUTE)
    if TRIANGULAR:
        x = tl.where(i[None, :] <= column[:, None], x, 0.0)
    mask = (column < n)[:, None] & (i < k)[None, :]
    base = (part.to(tl.int64) * (tl.num_programs(0) // matrix_tiles) + factor) * n * k
    at = column.to(tl.int64)[:, None] * k + i[None, :]
    tl.store(out_ptr + base + at, x.to(out_ptr.dtype.element_ty), mask=mask)
