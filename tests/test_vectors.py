"""The vectors of the C++ loops, which have the bits of ATen's."""

from __future__ import annotations

import ctypes

import pytest
import torch

from rsample.kernels.engines.cpu import compiler, cpp
from rsample.kernels.formula.elementary import VECTOR

pytestmark = pytest.mark.skipif(
    not any("RSAMPLE_VECTOR_BYTES" in flag for flag in compiler.vectors() or ()), reason="vectors are ATen's here"
)

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3e-39, -3e-39, 3e-310, 1e30, -1e30, torch.inf, -torch.inf, torch.nan]
# Whose lanes are told by a sum, a mean of neighbours and a difference, which depend on the order.
REDUCTIONS = {"sum": "a + b", "difference": "a - b", "maximum": "V::blendv(a, b, b > a)"}


def source() -> str:
    parts = [cpp.headers()]
    for dtype, T in cpp.TYPES.items():
        bits = dtype.itemsize * 8
        parts.append(f"namespace of_{T} {{\nusing T = {T};\nusing V = rsample::Vector<T>;\n")
        for name, expression in VECTOR.items():
            parts.append(f"""
extern "C" void {name}_{T}(const T* a, const T* b, const T* c, T* to, std::int64_t n) {{
  for (std::int64_t i = 0; i < n; i += V::size()) {{
    const V x = V::loadu(a + i), y = V::loadu(b + i), z = V::loadu(c + i);
    V({expression.format("x", "y", "z") if name != "where" else "V::blendv(z, y, x < y)"}).store(to + i);
  }}
}}
""")
        for name, expression in REDUCTIONS.items():
            parts.append(f"""
extern "C" void {name}_of_lanes_{T}(const T* a, const T* b, const T* c, T* to, std::int64_t n) {{
  const auto function = [](const V& a, const V& b) {{ return {expression}; }};
  for (std::int64_t i = 0; i < n; i += V::size()) to[i] = rsample::reduced(function, V::loadu(a + i));
}}
""")
        parts.append(f"""
extern "C" void parts_{T}(const T* a, const T* b, const T* c, T* to, std::int64_t n) {{
  for (std::int64_t i = 0; i < n; i += V::size()) {{
    const std::int64_t count = i / V::size() % (V::size() + 1);
    V::set(V::loadu(a + i), V::loadu(b + i, count), count).store(to + i);
    (V::loadu(c + i, count) & V(T(-0.0))).store(to + i, count / 2);
  }}
}}
}}  // namespace of_{T}
""")
        assert bits in (32, 64)
    return "".join(parts)


@pytest.fixture(scope="module")
def libraries() -> tuple[ctypes.CDLL, ctypes.CDLL]:
    ours, atens = (cpp.build(before + source(), "a test") for before in ("", "#undef RSAMPLE_VECTOR_BYTES\n"))
    assert ours is not None
    assert atens is not None
    return ours, atens


def operands(dtype: torch.dtype) -> list[torch.Tensor]:
    """Three numbers each: all of SPECIAL with each other, and 2**14 of all magnitudes."""
    special = torch.cartesian_prod(*[torch.tensor(SPECIAL, dtype=dtype)] * 3)
    integers = torch.int32 if dtype == torch.float32 else torch.int64
    generator = torch.Generator().manual_seed(0)
    bits = torch.empty(2**13, 3, dtype=integers).random_(generator=generator)
    moderate = torch.randn(2**13 + (-len(special)) % 64, 3, dtype=dtype, generator=generator) * 4
    signed = torch.where(bits % 2 == 0, bits, bits.bitwise_not()).view(dtype)
    return list(torch.cat([special, signed, moderate]).T.contiguous())


@pytest.mark.parametrize("dtype", cpp.TYPES)
@pytest.mark.parametrize("name", [*VECTOR, *(f"{name}_of_lanes" for name in REDUCTIONS), "parts"])
def test_bits_are_those_of_aten(libraries, name, dtype):
    given = operands(dtype)
    if name == "or":  # of masks
        given = [torch.where(x > 0, x, 0).sign().neg().to(torch.int64).to(torch.int32) for x in given]
        given = [(x if dtype == torch.float32 else x.to(torch.int64)).view(dtype) for x in given]
    results = []
    for library in libraries:
        out = torch.zeros_like(given[0])
        pointers = (ctypes.c_void_p(t.data_ptr()) for t in (*given, out))
        getattr(library, f"{name}_{cpp.TYPES[dtype]}")(*pointers, ctypes.c_int64(out.numel()))
        results.append(out.view(torch.int32 if dtype == torch.float32 else torch.int64))
    # The bits of NaN do not matter.
    numbers = [torch.isnan(x.view(dtype)) for x in results]
    masks = name in ("lt", "le", "gt", "ge", "eq", "ne", "or")
    if not masks:
        assert torch.equal(*numbers)
        results = [x.masked_fill(isnan, 0) for x, isnan in zip(results, numbers, strict=True)]
    assert torch.equal(*results)
