// Whether matrices are what constructors require.

#pragma once

#include <limits>

#include "watch.h"

namespace rsample {

// Calls `valid(matrix)` for each matrix, until it is false; `matrix(i, j)` is a number.
template <class T, class Valid>
bool all_matrices(const Tensor& t, Valid valid) {
  const T* x = static_cast<const T*>(t.const_data_ptr());
  const int64_t row = t.stride(-2), column = t.stride(-1), batch = t.dim() - 2;
  const auto strides = t.strides().slice(0, batch);
  const Shape sizes = distinct(t.sizes().slice(0, batch), strides);
  bool all = true;
  each(sizes, sizes, strides, [&](int64_t, int64_t at) {
    all = all && valid([&](int64_t i, int64_t j) { return x[at + i * row + j * column]; });
  });
  return all;
}

template <class T>
bool are_lower_cholesky(const Tensor& t) {
  const int64_t n = t.size(-1);
  return all_matrices<T>(t, [n](auto matrix) {
    bool valid = true;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < i; ++j) valid &= matrix(i, j) == matrix(i, j);
      valid &= matrix(i, i) > 0;
      for (int64_t j = i + 1; j < n; ++j) valid &= matrix(i, j) == 0;
    }
    return valid;
  });
}

// Whether matrices are symmetric, as far as torch asks, and beyond doubt positive definite: of all pivots no rounding of
// the dtype could turn the sign.
template <class T>
bool are_surely_positive_definite(const Tensor& t) {
  const int64_t n = t.size(-1);
  std::vector<double> l(n * n);
  return all_matrices<T>(t, [&](auto matrix) {
    double largest = 0;
    for (int64_t i = 0; i < n; ++i) {
      largest = std::max(largest, static_cast<double>(matrix(i, i)));
      for (int64_t j = 0; j < i; ++j) {
        const double a = matrix(i, j), b = matrix(j, i);
        if (!(std::abs(a - b) <= 1e-6 + 1e-5 * std::min(std::abs(a), std::abs(b)))) return false;
      }
    }
    const double least = 8.0 * static_cast<double>(n * n) * std::numeric_limits<T>::epsilon() * largest;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        double rest = matrix(i, j);
        for (int64_t k = 0; k < j; ++k) rest -= l[i * n + k] * l[j * n + k];
        if (i == j && !(rest > least && std::isfinite(rest))) return false;
        l[i * n + j] = i == j ? std::sqrt(rest) : rest / l[j * n + j];
      }
    }
    return true;
  });
}

// are_matrices(tensor, positive definite or else lower triangular with a positive diagonal): None where it is not seen
// here.
PyObject* are_matrices(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  constexpr int64_t MOST_CHECKED = 1 << 15, MOST_ROWS = 32;
  const Tensor& t = THPVariable_Unpack(args[0]);
  const auto dtype = t.scalar_type();
  if (!is_plain(t) || !t.is_cpu() || (dtype != at::kFloat && dtype != at::kDouble)) Py_RETURN_NONE;
  if (t.dim() < 2 || t.dim() > MOST_DIMENSIONS || t.size(-1) != t.size(-2)) Py_RETURN_NONE;
  if (t.numel() == 0 || c10::multiply_integers(distinct(t.sizes(), t.strides())) > MOST_CHECKED) Py_RETURN_NONE;
  if (args[1] != Py_True) {
    return PyBool_FromLong(dtype == at::kFloat ? are_lower_cholesky<float>(t) : are_lower_cholesky<double>(t));
  }
  if (t.size(-1) > MOST_ROWS) Py_RETURN_NONE;
  if (dtype == at::kFloat ? are_surely_positive_definite<float>(t) : are_surely_positive_definite<double>(t)) {
    Py_RETURN_TRUE;
  }
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

}  // namespace rsample
