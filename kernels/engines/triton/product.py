"""The kernels of draws that are a matrix product: noise is made where the product takes it, tile by tile.

Forward, a program multiplies a tile of rows of eps by a tile of columns of the factor's transpose; of a triangular
factor it skips what lies above the diagonal. Where no two rows share a factor, a program multiplies a matrix by a
vector. Backward, a program adds up grad^T eps over rows for one tile of a factor; where there are few tiles, several
programs share the rows of one, and their sums are added up afterwards, in a fixed order.

Products are of the compute dtype, without tensor-float rounding.
"""

# Names in capitals are compile-time constants of Triton's, not Yoda's, and choose what is compiled.
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...laws.normal import NORMAL_LAW
from ...runtime.language import triton
from ...stream.noise import compute_dtype, elements_per_block
from ..matrix_product import MatrixProduct
from ..product_layout import Batch, Walk, describe_batch, row_strides
from . import elementwise
from .direct_launch import launch
from .launch import PROGRAMS, device_empty, hardware, key_arguments
from .product_kernels import product_backward_kernel, product_forward_kernel


@dataclass(frozen=True)
class Tile:
    """The tile of a program: of rows, of the sample's columns and of the noise's."""

    rows: int
    n: int
    k: int
    warps: int = 4


# Tiles that fit into registers (sm_90); noise whose blocks go across rows needs more of them, and so does float64.


def forward_tile(kind: MatrixProduct, rows: int, n: int, k: int, dtype: torch.dtype) -> Tile:
    """The tile of a forward program; one row where none shares its factor."""
    if rows == 1:
        small = n <= 16 and k <= 16
        return Tile(1, _size(n, 16, 32), _size(k, 16, 64), warps=1 if small else 4)
    double, two_noises = dtype == torch.float64, len(kind.parameters) == 3
    aligned = group_of(k, dtype) > 1
    if double and two_noises:
        return Tile(16, _size(n, 16, 32), 16)
    most = 32 if double or two_noises else 64
    tile = Tile(_size(rows, 16, most), _size(n, 16, 64), _size(k, 16, 16 if double else 32))
    return replace(tile, warps=8) if tile.rows == 64 and (dtype.itemsize == 2 or not aligned) else tile


def backward_tile(rows: int, n: int, k: int, dtype: torch.dtype) -> Tile:
    """The tile of a backward program."""
    double, aligned = dtype == torch.float64, group_of(k, dtype) > 1
    tile = Tile(_size(rows, 16, 16 if double else 32), _size(n, 16, 64), _size(k, 16, 64))
    if tile.n * tile.k < 64 * 64:
        return tile
    return replace(tile, warps=4 if aligned else 8) if double else replace(tile, rows=32)


def _size(size: int, least: int, most: int) -> int:
    return min(max(triton.next_power_of_2(size), least), most)


def group_of(columns: int, dtype: torch.dtype) -> int:
    """How many neighbouring columns of every row share a Philox block: a power of two."""
    return math.gcd(columns, elements_per_block(dtype))


def forward(
    kind: MatrixProduct,
    key: Sequence[Tensor],
    params: Sequence[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    tile: Tile | None = None,
) -> tuple[Tensor, ...]:
    """The draw; as :func:`engines.eager.product.forward`.

    Args:
        key: a packed key or a generator's reservation.
        tile: use this one.
    """
    *batch, n = shape
    loc, factor, *scale = params
    k, device = factor.shape[-1], loc.device
    out = device_empty(shape, dtype, device)
    norm = device_empty(batch, dtype, device) if kind.norm else None
    if out.numel() == 0:
        return (out,) if norm is None else (out, norm.zero_())
    rows_of = [p.expand(*batch, n).stride() for p in (loc, *scale)]
    of_factor = factor.expand(*batch, n, k).stride()
    strides = [row_strides(batch), of_factor[:-2], rows_of[0][:-1], rows_of[-1][:-1]]
    layout = describe_batch(batch, [s != 0 for s in of_factor[:-2]], strides)
    tile = tile or forward_tile(kind, layout.rows, n, k, dtype)
    programs = layout.own.count * layout.shared.count * -(-layout.rows // tile.rows)
    key_kind, *key_words = key_arguments(key, device)
    launch(
        product_forward_kernel,
        (programs, -(-n // tile.n)),
        device,
        out,
        norm,
        loc,
        factor,
        scale[0] if scale else None,
        *_walks(layout),
        layout.shared.count,
        layout.rows,
        layout.steps[0],
        *layout.steps[2:],
        rows_of[0][-1],
        rows_of[-1][-1],
        *of_factor[-2:],
        n,
        k,
        *key_words,
        OWN_GROUP=group_of(n, dtype),
        ORDER="row" if of_factor[-1] == 1 else "column" if of_factor[-2] == 1 else "neither",
        **_constants(kind, layout, k, dtype, key_kind, tile),
    )
    return (out,) if norm is None else (out, norm)


def backward(
    kind: MatrixProduct,
    key: Sequence[Tensor],
    grad: Tensor,
    like: Sequence[Tensor],
    needs: Sequence[bool],
    tile: Tile | None = None,
    parts: int | None = None,
) -> list[Tensor]:
    """The gradients that `needs` marks; as :func:`engines.eager.product.backward`.

    Args:
        grad: of any strides, 0 included.
        tile, parts: use this tile, and cut the rows of a factor into so many parts.
    """
    loc, factor, *scale = like
    grads: list[Tensor] = []
    if needs[0]:
        grads.append(grad.sum_to_size(loc.shape).to(loc.dtype))
    if needs[1]:
        grads.append(_factor_gradient(kind, key, grad, factor, tile, parts))
    if scale and needs[2]:
        grads += elementwise.backward(NORMAL_LAW, key, (grad,), (loc, scale[0]), (False, True))
    return grads


def _factor_gradient(
    kind: MatrixProduct, key: Sequence[Tensor], grad: Tensor, factor: Tensor, tile: Tile | None, parts: int | None
) -> Tensor:
    *batch, n = grad.shape
    k, device, dtype = factor.shape[-1], grad.device, grad.dtype
    if grad.numel() == 0:
        return torch.zeros(factor.shape, dtype=factor.dtype, device=device)
    sizes = (*(1,) * (len(batch) - factor.dim() + 2), *factor.shape[:-2])
    layout = describe_batch(batch, [size != 1 for size in sizes], [row_strides(batch), grad.stride()[:-1]])
    tile = tile or backward_tile(layout.rows, n, k, dtype)
    matrix_tiles = -(-n // tile.n) * -(-k // tile.k)
    tiles = layout.shared.count * -(-layout.rows // tile.rows)
    if parts is None:
        # A part should be worth its sum: four tiles of rows at least.
        parts = max(min(PROGRAMS // (layout.own.count * matrix_tiles), tiles // 4), 1)
    run = -(-tiles // parts)
    parts = -(-tiles // run)
    partial = compute_dtype(dtype) if parts > 1 else factor.dtype
    out = device_empty((parts, layout.own.count, n, k), partial, device)
    key_kind, *key_words = key_arguments(key, device)
    launch(
        product_backward_kernel,
        (matrix_tiles * layout.own.count, parts),
        device,
        out,
        grad,
        *_walks(layout),
        layout.rows,
        *layout.steps,
        grad.stride()[-1],
        tiles,
        run,
        n,
        k,
        *key_words,
        **_constants(kind, layout, k, dtype, key_kind, tile),
    )
    return (out.sum(0).to(factor.dtype) if parts > 1 else out).reshape(factor.shape)


def _walks(layout: Batch) -> tuple[Any, ...]:
    def arguments(walk: Walk) -> tuple[Any, ...]:
        return walk.sizes, walk.strides

    return (*arguments(layout.own), *arguments(layout.shared))


def _constants(
    kind: MatrixProduct, layout: Batch, k: int, dtype: torch.dtype, key_kind: str, tile: Tile
) -> dict[str, Any]:
    return {
        "TRIANGULAR": kind.triangular,
        "STREAM": kind.stream,
        "GROUP": group_of(k, dtype),
        "WIDE": layout.wide,
        "KEY": key_kind,
        "HARDWARE": hardware(),
        "BLOCK_ROWS": tile.rows,
        "BLOCK_N": tile.n,
        "BLOCK_K": tile.k,
        "num_warps": tile.warps,
        # A product and its sum are one instruction.
        "enable_fp_fusion": True,
    }
