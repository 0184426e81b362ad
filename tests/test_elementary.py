"""The elementary functions of the C++ loops, against numpy's in float64."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from rsample.kernels.engines.cpu import cpp

# A unit in the last place is 1 to 2 times 2**-24, so 2e-7 is between 1.7 and 3.4 of them; what a function's polynomial
# and its last three roundings may come to.
TOLERANCE = {"log": 1e-7, "log1p": 1.5e-7, "exp": 1.3e-7, "expm1": 2e-7, "tanh": 3.5e-7}
TINY = np.finfo(np.float32).tiny


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    loops = "".join(
        f"""
extern "C" void {name}_of(const float* x, float* y, std::int64_t n) {{
  using V = rsample::Vector<float>;
  for (std::int64_t i = 0; i < n; i += V::size()) rsample::vectors::{name}(V::loadu(x + i)).store(y + i);
}}"""
        for name in TOLERANCE
    )
    library = cpp.build(cpp.headers() + loops, "this test")
    assert library is not None
    return library


def evaluate(library: ctypes.CDLL, name: str, x: np.ndarray) -> np.ndarray:
    assert x.dtype == np.float32
    assert x.size % 64 == 0
    y = np.full_like(x, np.nan)
    pointers = (ctypes.c_void_p(array.ctypes.data) for array in (x, y))
    getattr(library, f"{name}_of")(*pointers, ctypes.c_int64(x.size))
    return y


@pytest.mark.parametrize("name", TOLERANCE)
def test_every_float_is_within_the_tolerance(library: ctypes.CDLL, name: str) -> None:
    # One in 509 of all bit patterns: every exponent, both signs, subnormals, infinities among them; NaN stays NaN.
    x = np.arange(0, 2**32, 509, dtype=np.uint32)
    x = x[: x.size // 64 * 64].view(np.float32)
    y = evaluate(library, name, x)
    with np.errstate(all="ignore"):
        exact = getattr(np, name)(x.astype(np.float64))
        rounded = exact.astype(np.float32)
        error = np.abs(y.astype(np.float64) - exact)
    settled = np.isnan(rounded) | np.isinf(rounded)
    np.testing.assert_array_equal(y[settled], rounded[settled])
    # A subnormal result is as near as its grid allows.
    bound = np.maximum(TOLERANCE[name] * np.abs(exact), 1.5e-45)
    worst = np.argmax(np.where(settled, 0.0, error / bound))
    assert error[worst] <= bound[worst], (x[worst], y[worst], exact[worst])


@pytest.mark.parametrize("name", TOLERANCE)
def test_special_values(library: ctypes.CDLL, name: str) -> None:
    special = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, TINY, -TINY, 1e-45, 88.72283, 88.72284, -103.97, -104.1]
    x = np.resize(np.array(special, np.float32), 64)
    with np.errstate(all="ignore"):
        exact = getattr(np, name)(x.astype(np.float64))
        exact[np.abs(exact) > np.finfo(np.float32).max] *= np.inf
    np.testing.assert_allclose(evaluate(library, name, x), exact, rtol=TOLERANCE[name], atol=1.5e-45)
