"""Cholesky factors of correlation matrices by the onion method: the rows, from their lengths and directions.

Row i is a point of a sphere, the direction of normal numbers, at a distance whose square is given; what is left of 1 is
on the diagonal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...runtime.hugepages import empty
from ..row_loops import RowLoops

_LOOPS = RowLoops("onion.h", ("onion",), "correlation matrices")


def onion(squares: Tensor, normals: Tensor) -> Tensor:
    """The factors, a new tensor (..., n, n).

    Args:
        squares: of the rows' lengths below the diagonal, in [0, 1], of shape (..., n). The first row has none.
        normals: standard normal numbers (..., n, n), of which those below the diagonal count.
    """
    run = _LOOPS.find(squares, normals)
    if run is None or not (squares.is_contiguous() and normals.is_contiguous()):
        return _by_operations(squares, normals)
    out = empty(normals.shape, normals.dtype)
    n = normals.shape[-1]
    run("onion", squares.data_ptr(), normals.data_ptr(), normals.numel() // (n * n), n, out.data_ptr())
    return out


def _by_operations(squares: Tensor, normals: Tensor) -> Tensor:
    below, squares = normals.tril(-1), squares.unsqueeze(-1)
    # The first row has no direction.
    tiny = torch.finfo(squares.dtype).tiny
    rows = squares.sqrt() * below / below.norm(dim=-1, keepdim=True).clamp(min=tiny)
    diagonal = (1 - rows.square().sum(-1)).clamp(min=tiny).sqrt()
    return rows + diagonal.diag_embed()
