"""Elementary functions of the device, each with a portable twin.

Triton's own `tl.sin`, `tl.cos` and `tl.log2` compile on NVIDIA to long sequences with a divergent slow path; the
noise needs none of that range. Where `HARDWARE` is set the functions below use the special-function unit. The twin is
for Triton's interpreter and for AMD, neither of which has libdevice's intrinsics.
"""

from __future__ import annotations

from ..runtime.language import HAS_TRITON, tl, triton

if HAS_TRITON:
    from triton.language.extra.cuda import libdevice

LN_2 = tl.constexpr(0.6931471805599453)
NEGATIVE_LN_2 = tl.constexpr(-0.6931471805599453)
NEGATIVE_TWO_LN_2 = tl.constexpr(-1.3862943611198906)


@triton.jit
def negative(x):
    """-x as the sign of an operand: Triton 3.6 compiles a unary minus to a subtraction from 0, which costs one more."""
    return x * -1.0


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
def exponential_of_centered(t, COARSE: tl.constexpr, HARDWARE: tl.constexpr):
    """-log(t) for t > 0 and -log(1 + t) for t < 0, t in [-1/2, 1/2].

    In float32 on the hardware, whose log2 has an absolute error of 2**-22 next to 1, it is within 3e-6 relative. COARSE
    spares three instructions and is within 2e-7 absolute, 3e-4 relative: one term of the series, below 5.8e-4.
    """
    if HARDWARE and t.dtype == tl.float32:
        u = t + (t < 0).to(tl.float32)
        far = libdevice.fast_log2f(u) * NEGATIVE_LN_2
        if COARSE:
            return tl.where(u > 0.99942, negative(t), far)
        else:
            # Minimax on [0, 0.0677], where the relative errors of both branches meet.
            ratio = tl.fma(tl.fma(t, 0.36042812, -0.49929723), t, 1.00000267)
            return tl.where(u > 0.9323, negative(t) * ratio, far)
    else:
        return tl.where(t > 0, -tl.log(tl.where(t > 0, t, 1.0)), -log1p(tl.where(t < 0, t, 0.0), HARDWARE))


@triton.jit
def log(x, HARDWARE: tl.constexpr):
    """Natural logarithm; in float32 on the hardware within 2**-22.5 absolute next to 1, elsewhere within 3 ulp."""
    if HARDWARE and x.dtype == tl.float32:
        return libdevice.fast_log2f(x) * LN_2
    else:
        return tl.log(x)


@triton.jit
def log2(x, HARDWARE: tl.constexpr):
    """Logarithm to base 2, to the precision of :func:`log`."""
    if HARDWARE and x.dtype == tl.float32:
        return libdevice.fast_log2f(x)
    else:
        return tl.log2(x)


@triton.jit
def log1p_series(x):
    """log(1 + x) for float32 x in [-0.1, 0.1]: x + x**2 p(x), p minimax; relative error 1e-8 before rounding."""
    p = tl.fma(x, -0.16855932, 0.20180042)
    p = tl.fma(p, x, -0.24999288)
    p = tl.fma(p, x, 0.33332882)
    p = tl.fma(p, x, -0.5)
    return tl.fma(p * x, x, x)


@triton.jit
def log1p(x, HARDWARE: tl.constexpr):
    """log(1 + x), relatively exact next to 0: the logarithm of the rounded sum, corrected for its rounding.

    Source: Goldberg, "What every computer scientist should know about floating-point arithmetic" (1991), theorem 4.
    """
    if HARDWARE and x.dtype == tl.float32:
        return tl.where(tl.abs(x) < 0.1, log1p_series(x), libdevice.fast_log2f(1.0 + x) * LN_2)
    else:
        u = 1.0 + x
        # x itself where 1 + x rounds to 1, infinity where it overflows.
        exact = (u == 1.0) | (u == float("inf"))
        return tl.where(exact, x, tl.log(u) * (x / tl.where(exact, 1.0, u - 1.0)))


@triton.jit
def expm1(x, HARDWARE: tl.constexpr):
    """e**x - 1, relatively exact next to 0."""
    if x.dtype == tl.float32:
        # x + x**2 p(x), p minimax on [-0.3, 0.3]: relative error 1e-8 before rounding.
        p = tl.fma(x, 0.00139224, 0.00835568)
        p = tl.fma(p, x, 0.04166655)
        p = tl.fma(p, x, 0.16666616)
        p = tl.fma(p, x, 0.5)
        return tl.where(tl.abs(x) < 0.3, tl.fma(p * x, x, x), exp(x, HARDWARE) - 1.0)
    else:
        # Kahan's: (u - 1) x / log u, u = e**x.
        u = tl.exp(x)
        exact = (u == 1.0) | (u - 1.0 == -1.0) | (u == float("inf"))
        ratio = (u - 1.0) * (x / tl.where(exact, 1.0, tl.log(tl.where(exact, 2.0, u))))
        return tl.where(u == 1.0, x, tl.where(exact, u - 1.0, ratio))


@triton.jit
def copysign(magnitude, sign):
    """|magnitude| with the sign of `sign`, in one instruction."""
    if magnitude.dtype == tl.float64:
        bits = magnitude.to(tl.uint64, bitcast=True) & 0x7FFFFFFFFFFFFFFF
        return (bits | (sign.to(tl.uint64, bitcast=True) & 0x8000000000000000)).to(tl.float64, bitcast=True)
    else:
        bits = magnitude.to(tl.uint32, bitcast=True) & 0x7FFFFFFF
        return (bits | (sign.to(tl.uint32, bitcast=True) & 0x80000000)).to(tl.float32, bitcast=True)


@triton.jit
def divide(x, y, HARDWARE: tl.constexpr):
    """x / y; in float32 on the hardware within 2 ulp, for |y| < 2**126."""
    if HARDWARE and x.dtype == tl.float32:
        return libdevice.fast_dividef(x, y)
    else:
        return x / y


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
def tanh(x, HARDWARE: tl.constexpr):
    """The hyperbolic tangent, relatively exact next to 0."""
    m = expm1(-2.0 * tl.abs(x), HARDWARE)
    return copysign(divide(m, m + 2.0, HARDWARE), x)


@triton.jit
def maximum(x, y):
    """The greater one, or NaN where one is."""
    return tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def minimum(x, y):
    """The lesser one, or NaN where one is."""
    return tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)


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


# sin(h) / h over h**2, minimax on [0, pi / 2]: relative error 5e-9.
_SINE = tl.constexpr((9.99999995e-01, -1.66666567e-01, 8.33302514e-03, -1.98074185e-04, 2.60190264e-06))
# atan(q) / q over q**2, minimax on [0, 1]: relative error 1.5e-8.
_ARCTANGENT = tl.constexpr(
    (0.99999998, -0.33333073, 0.19992619, -0.14203644, 0.10640933, -0.07504292, 0.04269149, -0.01606861, 0.00284988)
)


@triton.jit
def sin_of_quarter(h):
    """sin(h) for h in [0, pi / 2], relatively exact next to 0, where the hardware's bounds only its absolute error."""
    if h.dtype == tl.float64:
        return tl.sin(h)
    else:
        square = h * h
        p = tl.full(h.shape, _SINE.value[4], tl.float32)
        for i in tl.static_range(4):
            p = tl.fma(p, square, _SINE.value[3 - i])
        return h * p


@triton.jit
def atan(q):
    """The arctangent."""
    steep = tl.abs(q) > 1.0
    t = tl.where(steep, 1.0 / q, q)
    square = t * t
    p = tl.full(q.shape, _ARCTANGENT.value[8], q.dtype)
    for i in tl.static_range(8):
        p = p * square + _ARCTANGENT.value[7 - i]
    near = t * p
    if q.dtype == tl.float64:
        # One step of tan(atan(t) - y) = (t cos y - sin y) / (cos y + t sin y), whose cube is below rounding.
        sine, cosine = tl.sin(near), tl.cos(near)
        near += (t * cosine - sine) / (cosine + t * sine)
    return tl.where(steep, copysign(tl.full(q.shape, 1.5707963267948966, q.dtype), q) - near, near)


_PI = tl.constexpr(3.141592653589793)
_RECIPROCAL_PI = tl.constexpr(0.3183098861837907)


@triton.jit
def cotangent(t, HARDWARE: tl.constexpr):
    """cot(pi t), t in [-1/2, 1/2]."""
    if t.dtype == tl.float64:
        return tl.cos(t * _PI) / tl.sin(t * _PI)
    else:
        # (1 / pi - t^2 q(t^2)) / t, Laurent's series of the cotangent on (0, 1/2] made minimax: within 1.1e-7 absolute.
        t2 = t * t
        q = tl.fma(t2, 1.4707199, 0.36165732)
        q = tl.fma(q, t2, 0.67794497)
        q = tl.fma(q, t2, 0.64527685)
        q = tl.fma(q, t2, 0.68908119)
        q = tl.fma(q, t2, 1.0471974)
        return divide(tl.fma(negative(t2), q, _RECIPROCAL_PI), t, HARDWARE)
