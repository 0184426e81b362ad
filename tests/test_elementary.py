"""The table of elementary functions: how far C++ and Triton are from float64 functions of numpy and scipy."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import scipy.special
import torch

from rsample.kernels.engines.cpu import cpp
from rsample.kernels.engines.triton.launch import hardware
from rsample.kernels.formula.device_functions import device_function
from rsample.kernels.formula.elementary import OPERATIONS
from rsample.kernels.runtime.language import HAS_TRITON, tl, triton

VECTOR = {name: operation for name, operation in OPERATIONS.items() if operation.vector_error}
DEVICE = {name: operation for name, operation in OPERATIONS.items() if operation.device_error}
EXACT = {"rsqrt": lambda x: 1 / np.sqrt(x), "erf": scipy.special.erf, "atan": np.arctan}
FLOAT32 = np.finfo(np.float32)
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    np.inf,
    -np.inf,
    np.nan,
    FLOAT32.tiny,
    -FLOAT32.tiny,
    1e-45,
    88.72283,
    88.72284,
    -104.1,
]


def values(count: int) -> np.ndarray:
    """So many floats, of all exponents and both signs, subnormals and infinities among them; and `SPECIAL` ones."""
    bits = np.linspace(0, 2**32 - 1, count - 64, dtype=np.uint64).astype(np.uint32)
    return np.concatenate((bits.view(np.float32), np.resize(np.array(SPECIAL, np.float32), 64)))


def check(name: str, x: np.ndarray, y: np.ndarray, relative: float, absolute: float) -> None:
    with np.errstate(all="ignore"):
        exact = EXACT.get(name, getattr(np, name, None))(x.astype(np.float64))
        rounded = exact.astype(np.float32)
        error = np.abs(y.astype(np.float64) - exact)
    settled = np.isnan(rounded) | np.isinf(rounded)
    np.testing.assert_array_equal(y[settled], rounded[settled])
    # A subnormal result is as near as its grid allows.
    bound = np.maximum(relative * np.abs(exact) + absolute, 1.5e-45)
    worst = np.argmax(np.where(settled, 0.0, error / bound))
    assert error[worst] <= bound[worst], (x[worst], y[worst], exact[worst])


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    loops = "".join(
        f"""
extern "C" void {name}_of(const float* from, float* to, std::int64_t n) {{
  using T = float;
  using V = rsample::Vector<T>;
  for (std::int64_t i = 0; i < n; i += V::size()) {{
    const V x = V::loadu(from + i);
    V({operation.vector.format("x")}).store(to + i);
  }}
}}"""
        for name, operation in VECTOR.items()
    )
    library = cpp.build(cpp.headers() + loops, "this test")
    assert library is not None
    return library


@pytest.mark.parametrize("name", VECTOR)
def test_vectors_are_within_their_bound(library: ctypes.CDLL, name: str) -> None:
    x = values(2**23)
    y = np.full_like(x, np.nan)
    pointers = (ctypes.c_void_p(array.ctypes.data) for array in (x, y))
    getattr(library, f"{name}_of")(*pointers, ctypes.c_int64(x.size))
    check(name, x, y, *VECTOR[name].vector_error)


@triton.jit
def apply_kernel(out_ptr, x_ptr, FUNCTION: tl.constexpr, HARDWARE: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N) + tl.program_id(0) * N
    tl.store(out_ptr + i, FUNCTION(tl.load(x_ptr + i), HARDWARE))


@pytest.mark.kernel
@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
@pytest.mark.parametrize("name", DEVICE)
def test_device_functions_are_within_their_bound(name: str, device: torch.device) -> None:
    x = values(2**14)
    x = np.where(np.abs(x) < FLOAT32.tiny, 0.0, x).astype(np.float32)  # as the hardware takes them
    y = torch.full((x.size,), torch.nan, device=device)
    function = device_function(f"elementary_{name}", getattr(torch, name), ("x",))
    apply_kernel[(x.size // 1024,)](
        y, torch.from_numpy(x).to(device), function, hardware(), 1024, enable_fp_fusion=False
    )
    check(name, x, y.cpu().numpy(), *DEVICE[name].device_error)
