"""The noise of a race: standard exponential E, relatively exact also where it is small, and -log E, a Gumbel number.

The fastest of K clocks with rates p_1 .. p_K rings first with probability p_k / sum p: the category drawn is the argmin
of E_k / p_k, or the argmax of logit_k - log E_k (the Gumbel-max trick; Maddison, Mnih and Teh, "The Concrete
Distribution", 2017, section 2). The winner of many has a small E, so that E must be exact there.
"""

# Names in capitals are compile-time constants of Triton's, not Yoda's.
# ruff: noqa: SIM300
from __future__ import annotations

from ...formula.devicemath import exponential_of_centered, log2, negative
from ...runtime.language import HAS_TRITON, tl, triton
from ...stream.noise import open_unit_device

if HAS_TRITON:
    from triton.language.extra.cuda import libdevice

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def _time_of_words(high, low, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    """E / ln 2 of one element. DTYPE is the dtype of the weights.

    On the hardware, -log2 of the uniform number that :func:`stream.noise.exponential_of_element` takes, u = t
    or 1 + t, with one conversion for each. Next to u = 1 that logarithm has only an absolute error bound, 2**-22.6.
    There two terms in s = -t take its place, minimax on [0, 0.01]. The relative error is at most 1.5e-5, where they
    meet.
    """
    if DTYPE == tl.float64:
        word = ((high.to(tl.uint64) << 32) | low.to(tl.uint64)).to(tl.int64, bitcast=True)
        return exponential_of_centered(tl.fma(word.to(tl.float64), 2.0**-64, 2.0**-65), False, HARDWARE) * LOG2_E
    elif HARDWARE:
        u = open_unit_device(high, high, tl.float32)
        s = tl.fma(high.to(tl.int32, bitcast=True).to(tl.float32), -(2.0**-32), -(2.0**-33))
        near_one = s * tl.fma(s, 0.50333333 * LOG2_E, 0.99999583 * LOG2_E)
        return tl.where(u > 0.99, near_one, negative(libdevice.fast_log2f(u)))
    else:
        t = tl.fma(high.to(tl.int32, bitcast=True).to(tl.float32), 2.0**-32, 2.0**-33)
        return exponential_of_centered(t, False, HARDWARE) * LOG2_E


@triton.jit
def race_time(w0, w1, w2, w3, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    """The times E / ln 2 of the elements of a Philox block: a `Noise.device` function."""
    if DTYPE == tl.float64:
        return _time_of_words(w0, w1, DTYPE, HARDWARE), _time_of_words(w2, w3, DTYPE, HARDWARE)
    else:
        return (
            _time_of_words(w0, w0, DTYPE, HARDWARE),
            _time_of_words(w1, w1, DTYPE, HARDWARE),
            _time_of_words(w2, w2, DTYPE, HARDWARE),
            _time_of_words(w3, w3, DTYPE, HARDWARE),
        )


@triton.jit
def logits_score(time, logit, HARDWARE: tl.constexpr):
    """(logit - log E) / ln 2, up to a constant: one multiply-add in float32."""
    if time.dtype == tl.float64:
        return logit * LOG2_E - log2(time, HARDWARE)  # fma would round the constant to float32
    else:
        return tl.fma(logit, LOG2_E, negative(log2(time, HARDWARE)))


@triton.jit
def probs_score(time, prob, HARDWARE: tl.constexpr):
    """prob / E, up to a factor."""
    if HARDWARE and time.dtype == tl.float32:
        return libdevice.fast_dividef(prob, time)
    else:
        return prob / time
