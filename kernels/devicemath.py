"""Elementary functions of the device, each with a portable twin.

Triton's own `tl.sin`, `tl.cos` and `tl.log2` compile on NVIDIA to long sequences with a divergent slow path; the
noise needs none of that range. Where `HARDWARE` is set the functions below use the special-function unit. The twin is
for Triton's interpreter and for AMD, neither of which has libdevice's intrinsics.
"""

from __future__ import annotations

from .language import HAS_TRITON, tl, triton

if HAS_TRITON:
    from triton.language.extra.cuda import libdevice

NEGATIVE_TWO_LN_2 = tl.constexpr(-1.3862943611198906)


@triton.jit
def negative_two_log(u, HARDWARE: tl.constexpr):
    """-2 log(u) for float32 u in [2**-33, 1].

    The hardware's log2 has only an absolute error (2**-22), so next to 1, where the logarithm vanishes, it is replaced
    by the first term of the series, 2 (1 - u), whose relative error there is below 2e-4.
    """
    if HARDWARE:
        return tl.where(u > 0.9996, tl.fma(u, -2.0, 2.0), libdevice.fast_log2f(u) * NEGATIVE_TWO_LN_2)
    else:
        return tl.log2(u) * NEGATIVE_TWO_LN_2


@triton.jit
def sincos(angle, HARDWARE: tl.constexpr):
    """(sin, cos) of a float32 angle in [-pi, pi]; the hardware's absolute error there is 2**-20.9."""
    if HARDWARE:
        return libdevice.fast_sinf(angle), libdevice.fast_cosf(angle)
    else:
        return tl.sin(angle), tl.cos(angle)


@triton.jit
def exp(x, HARDWARE: tl.constexpr):
    """e**x; in float32 on the hardware within 2 ulp + |x| 2**-24, and 0 where the result is subnormal."""
    if HARDWARE and x.dtype == tl.float32:
        return libdevice.fast_expf(x)
    else:
        return tl.exp(x)


@triton.jit
def bits_or(w, MASK: tl.constexpr, BITS: tl.constexpr, HARDWARE: tl.constexpr):
    """(w & MASK) | BITS in one instruction: with two constants the compiler would take two."""
    if HARDWARE:
        return tl.inline_asm_elementwise(
            "lop3.b32 $0, $1, $2, $3, 0xEA;",
            "=r,r,r,r",
            [w, tl.full(w.shape, MASK, tl.uint32), tl.full(w.shape, BITS, tl.uint32)],
            tl.uint32,
            True,
            1,
        )
    else:
        return (w & MASK) | BITS
