// Whether tensors' numbers are what constructors require.

#pragma once

#include "cuda.h"
#include "watch.h"

namespace rsample {

// Whether a number is of a kind of checks.py.
template <class T>
bool is_of(int kind, T x) {
  switch (kind) {
    case 0: return x == x;
    case 1: return x > 0;
    case 2: return x >= 0 && x <= 1;
    case 3: return x >= 0;
    default: return x >= 0 && x - std::floor(x) == 0;  // not of infinity
  }
}

template <class T>
bool all_are(int kind, const Tensor& t) {
  const T* x = static_cast<const T*>(t.const_data_ptr());
  if (is_one(t)) return is_of(kind, *x);
  const Shape sizes = distinct(t.sizes(), t.strides());
  bool valid = true;
  each(sizes, sizes, t.strides(), [&](int64_t, int64_t at) { valid &= is_of(kind, x[at]); });
  return valid;
}

template <class T>
bool all_below(const Tensor& low, const Tensor& high) {
  const T* x = static_cast<const T*>(low.const_data_ptr());
  const T* y = static_cast<const T*>(high.const_data_ptr());
  if (is_one(low) && is_one(high)) return *x < *y;
  const int64_t a = !is_one(low), b = !is_one(high), n = low.numel();
  bool valid = true;
  for (int64_t i = 0; i < n; ++i) valid &= x[a * i] < y[b * i];
  return valid;
}

// Whether probabilities are those of normalised logits, to rounding: that of a logit counts as often as it is great, but
// for logits whose probability is 0.
template <class T>
bool all_follow(const Tensor& logits, const Tensor& probs) {
  constexpr T EPS = std::numeric_limits<T>::epsilon();
  const T* x = static_cast<const T*>(logits.const_data_ptr());
  const T* p = static_cast<const T*>(probs.const_data_ptr());
  bool same = true;
  for (int64_t i = 0, n = logits.numel(); i < n; ++i) {
    const T q = std::exp(x[i]);
    same &= q == p[i] || std::abs(q - p[i]) <= EPS * (8 + 2 * std::min(std::abs(x[i]), T(1000))) * p[i];
  }
  return same;
}

template <class T>
bool are_weights(const Tensor& t, bool are_probs) {
  const T* x = static_cast<const T*>(t.const_data_ptr());
  const int64_t k = t.size(-1), rows = t.numel() / k;
  bool valid = true;
  for (int64_t row = 0; row < rows; ++row, x += k) {
    double total = 0, top = x[0];
    for (int64_t i = 0; i < k; ++i) {
      valid &= are_probs ? x[i] >= 0 : x[i] == x[i];
      total += x[i];
      top = std::max(top, static_cast<double>(x[i]));
    }
    valid &= are_probs ? total > 0 && std::isfinite(total) : std::isfinite(top);
  }
  return valid;
}

// Whether a tensor's numbers are quickly looked at here.
bool is_seen(const Tensor& t) {
  constexpr int64_t MOST_CHECKED = 1 << 12;
  const auto dtype = t.scalar_type();
  return is_plain(t) && t.is_cpu() && (dtype == at::kFloat || dtype == at::kDouble) && t.numel() > 0 &&
         t.dim() <= MOST_DIMENSIONS &&
         (t.numel() <= MOST_CHECKED || c10::multiply_integers(distinct(t.sizes(), t.strides())) <= MOST_CHECKED);
}

// satisfies(tensor, kind): None where that is not seen here.
PyObject* satisfies(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  const Tensor& t = THPVariable_Unpack(args[0]);
  if (!is_seen(t)) Py_RETURN_NONE;
  const int kind = static_cast<int>(PyLong_AsLong(args[1]));
  return PyBool_FromLong(t.scalar_type() == at::kFloat ? all_are<float>(kind, t) : all_are<double>(kind, t));
  END_HANDLE_TH_ERRORS
}

// Launches of the kernel of checks.py.
Launches checks;

Kind kind_of_check(const Tensor& t, int64_t check) {
  return {static_cast<int64_t>(t.scalar_type()), t.device().index(), check};
}

// check(tensor, kind, number, address): launches the check of so many numbers on a GPU, whose outcome is written to an
// address; False where the launch is not known, or is not for here to make.
PyObject* check(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  const Tensor& t = THPVariable_Unpack(args[0]);
  if (!is_plain(t) || !t.is_cuda() || !is_ready(t.device())) Py_RETURN_FALSE;
  const auto launch = checks.find(kind_of_check(t, PyLong_AsLongLong(args[1])));
  if (!launch || is_hooked() != 0) Py_RETURN_FALSE;
  const int64_t stream = current_stream(t.device());
  if (stream < 0) return nullptr;
  std::vector<int64_t> values{reinterpret_cast<int64_t>(t.const_data_ptr()), PyLong_AsLongLong(args[3]),
                              PyLong_AsLongLong(args[2])};
  launch->run(values, reinterpret_cast<void*>(stream));
  Py_RETURN_TRUE;
  END_HANDLE_TH_ERRORS
}

// below(low, high): whether each number of one tensor is less than that of another of its shape.
PyObject* below(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  if (!THPVariable_Check(args[0]) || !THPVariable_Check(args[1])) Py_RETURN_NONE;
  const Tensor &low = THPVariable_Unpack(args[0]), &high = THPVariable_Unpack(args[1]);
  if (!is_seen(low) || !is_seen(high) || low.sizes() != high.sizes() || low.scalar_type() != high.scalar_type()) {
    Py_RETURN_NONE;
  }
  for (const Tensor* t : {&low, &high}) {
    if (!is_one(*t) && !t->is_contiguous()) Py_RETURN_NONE;
  }
  return PyBool_FromLong(low.scalar_type() == at::kFloat ? all_below<float>(low, high) : all_below<double>(low, high));
  END_HANDLE_TH_ERRORS
}

// weighs(weights, are_probs): whether each row of probabilities or logits has a law.
PyObject* weighs(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  const Tensor& t = THPVariable_Unpack(args[0]);
  if (!unwatched() || !is_seen(t) || !t.is_contiguous()) Py_RETURN_NONE;
  const bool are_probs = args[1] == Py_True;
  return PyBool_FromLong(t.scalar_type() == at::kFloat ? are_weights<float>(t, are_probs)
                                                       : are_weights<double>(t, are_probs));
  END_HANDLE_TH_ERRORS
}

// follow(logits, probs): whether a look shows that each is made of the other. Logits that are not normalised have no such
// probabilities.
PyObject* follow(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  if (!THPVariable_Check(args[0]) || !THPVariable_Check(args[1])) Py_RETURN_FALSE;
  const Tensor &logits = THPVariable_Unpack(args[0]), &probs = THPVariable_Unpack(args[1]);
  for (const Tensor* t : {&logits, &probs}) {
    if (!unwatched() || !is_seen(*t) || !t->is_contiguous()) Py_RETURN_FALSE;
  }
  if (logits.sizes() != probs.sizes() || logits.scalar_type() != probs.scalar_type()) Py_RETURN_FALSE;
  return PyBool_FromLong(logits.scalar_type() == at::kFloat ? all_follow<float>(logits, probs)
                                                            : all_follow<double>(logits, probs));
  END_HANDLE_TH_ERRORS
}

}  // namespace rsample
