"""Layouts of broadcast operands: collapsing, packing, and the offsets that the device computes from them."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rsample.kernels.runtime.language import tl, triton
from rsample.kernels.stream import layout
from rsample.kernels.stream.layout import (
    DENSE,
    REPEATED,
    ROWS,
    SCALAR,
    STRIDED,
    collapse,
    describe,
    strided_offset,
    unpack,
)


def offsets(sizes, strides):
    """The offset of every element of a row-major walk."""
    index = np.indices(sizes).reshape(len(sizes), -1)
    return (np.array(strides, dtype=np.int64)[:, None] * index).sum(0)


# No limit of time, which a busy machine would break.
@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 8), st.sampled_from([0, 1, 12])), min_size=1, max_size=5))
def test_collapsing_keeps_every_offset(dims):
    sizes, *strides = (list(column) for column in zip(*dims, strict=True))
    collapsed, rows = collapse(sizes, strides)
    assert 1 not in collapsed
    for before, after in zip(strides, rows, strict=True):
        np.testing.assert_array_equal(offsets(sizes, before), offsets(collapsed, after) if collapsed else [0])


def test_collapsing_is_as_far_as_all_operands_allow():
    contiguous, leading, trailing = [60, 12, 4, 1], [0, 0, 4, 1], [5, 1, 0, 0]
    assert collapse([2, 5, 3, 4], [contiguous]) == ([120], [[1]])
    assert collapse([2, 5, 3, 4], [contiguous, leading]) == ([10, 12], [[12, 1], [0, 1]])
    assert collapse([2, 5, 3, 4], [leading, trailing]) == ([10, 12], [[0, 1], [1, 0]])


def base(*shape):
    return torch.zeros(shape)


@pytest.mark.parametrize(
    ("operand", "kind"),
    [
        (base(), SCALAR),
        (base(1, 1, 1), SCALAR),
        (base(1).expand(6, 5, 8), SCALAR),
        (base(6, 5, 8), DENSE),
        (base(8), ROWS),
        (base(5, 8), ROWS),
        (base(6, 1, 8), ROWS),
        (base(6, 5, 16)[..., :8], ROWS),
        (base(5, 1), REPEATED),
        (base(6, 1, 1), REPEATED),
        (base(8, 5, 6).permute(2, 1, 0), STRIDED),
        (base(241)[1:].reshape(6, 5, 8), STRIDED),  # not 16-byte aligned
        (base(9)[1:], STRIDED),
        (base(6, 5, 9)[..., :8], STRIDED),  # rows of 9
    ],
)
def test_kinds(operand, kind):
    assert describe(torch.Size((6, 5, 8)), [operand], 4).kinds == (kind,)


def test_rows_that_are_no_multiple_of_a_group_are_strided():
    assert describe(torch.Size((6, 10)), [base(10), base(6, 1)], 4).kinds == (STRIDED, STRIDED)
    assert describe(torch.Size((6, 10)), [base(10), base(6, 1)], 2).kinds == (ROWS, REPEATED)


def test_wide_where_an_index_needs_more_than_31_bits():
    assert not describe(torch.Size((2**20, 2**10)), [base(2**10)], 4).wide
    assert describe(torch.Size((2**21, 2**10)), [base(2**10)], 4).wide
    assert describe(torch.Size((4, 4)), [torch.empty_strided((4, 4), (2**31, 0), device="meta")], 4).wide
    assert not describe(torch.Size((2**21, 2**10)), [base()], 4).wide


@triton.jit
def offset_kernel(out_ptr, index_ptr, sizes, strides, OPERAND: tl.constexpr, WIDE: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    index = tl.load(index_ptr + i).to(tl.uint64 if WIDE else tl.uint32)
    tl.store(out_ptr + i, strided_offset(index, sizes, strides, OPERAND, WIDE).to(tl.int64))


@triton.jit
def unpack_kernel(out_ptr, values, WIDE: tl.constexpr):
    for i in tl.static_range(len(values)):
        tl.store(out_ptr + i, unpack(values[i], WIDE).to(tl.int64))


@pytest.mark.kernel
@pytest.mark.parametrize("wide", [False, True])
def test_unpack_inverts_pack(wide, device):
    values = [0, 1, 2, 7, 8, 15, 16, 2**30 - 1] + ([2**31, 2**45 + 1] if wide else [])
    packed = layout.pack(values, wide)
    assert all(p != 1 and p % 16 and (p < -(2**31)) == wide for p in packed)
    out = torch.zeros(len(values), dtype=torch.int64, device=device)
    unpack_kernel[(1,)](out, packed, wide)
    assert out.tolist() == values


@pytest.mark.kernel
@pytest.mark.parametrize("wide", [False, True])
def test_offsets_on_the_device(wide, device, monkeypatch):
    if wide:
        monkeypatch.setattr(layout, "INT31", 1)
    shape = torch.Size((3, 5, 4, 6))
    operands = [
        torch.empty(5, 4, 6).transpose(0, 2).reshape(6, 4, 5).permute(2, 1, 0),
        torch.empty(3, 1, 4, 1),
        torch.empty(3, 5, 6, 4).transpose(2, 3),
    ]
    described = describe(shape, operands, 4)
    assert described.wide == wide
    index = torch.randint(shape.numel(), (64,), generator=torch.Generator().manual_seed(1))
    for j, operand in enumerate(operands):
        expected = offsets(shape, operand.expand(shape).stride())[index]
        out = torch.zeros(64, dtype=torch.int64, device=device)
        offset_kernel[(1,)](out, index.to(device), described.sizes, described.strides, j, wide, 64)
        np.testing.assert_array_equal(out.cpu(), expected)
