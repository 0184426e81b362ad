// Sizes, strides and memory of tensors.

#pragma once

#include <ATen/Context.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/util/SmallVector.h>

#include <bitset>

namespace rsample {

using at::Tensor;
using variable_list = std::vector<Tensor>;
// Parameters, which are the caller's.
using Tensors = c10::ArrayRef<const Tensor*>;
using Shape = c10::SmallVector<int64_t, 8>;

// Larger draws do not notice Python, and their memory comes in huge pages.
constexpr int64_t MOST_NUMBERS = 1 << 20;
// Draws of fewer numbers may have parameters of any layout, which are laid out here.
constexpr int64_t MOST_LAID_OUT = 1 << 15;
// From this size on other threads of Python run meanwhile.
constexpr int64_t LONG = 1 << 12;
constexpr int MOST_PARAMETERS = 8, MOST_OUTPUTS = 2, MOST_DIMENSIONS = 16;

// By parameter: whether a gradient of it is asked for.
using Needs = std::bitset<MOST_PARAMETERS>;

// Whether all elements are one number in memory.
bool is_one(at::IntArrayRef sizes, at::IntArrayRef strides) {
  for (size_t d = 0; d < sizes.size(); ++d) {
    if (sizes[d] != 1 && strides[d] != 0) return false;
  }
  return true;
}

bool is_one(const Tensor& t) { return is_one(t.sizes(), t.strides()); }

// The sizes without what repeats in memory.
Shape distinct(at::IntArrayRef sizes, at::IntArrayRef strides) {
  Shape own(sizes.begin(), sizes.end());
  for (size_t d = 0; d < sizes.size(); ++d) {
    if (strides[d] == 0 && sizes[d] > 1) own[d] = 1;
  }
  return own;
}

bool broadcasts(at::IntArrayRef sizes, at::IntArrayRef shape) {
  if (sizes.size() > shape.size()) return false;
  const auto own = shape.slice(shape.size() - sizes.size());
  for (size_t d = 0; d < sizes.size(); ++d) {
    if (sizes[d] != own[d] && sizes[d] != 1) return false;
  }
  return true;
}

// Calls `function(i, at)` for the elements i of a shape in row-major order, `at` of a tensor that broadcasts to it.
template <class Function>
void each(at::IntArrayRef shape, at::IntArrayRef sizes, at::IntArrayRef strides, Function function) {
  const size_t lead = shape.size() - sizes.size();
  int64_t steps[MOST_DIMENSIONS] = {}, index[MOST_DIMENSIONS] = {}, at = 0, dims = shape.size();
  for (size_t d = 0; d < sizes.size(); ++d) steps[lead + d] = sizes[d] == 1 ? 0 : strides[d];
  const int64_t numel = c10::multiply_integers(shape), run = dims ? shape[dims - 1] : 1;
  for (int64_t i = 0; i < numel; i += run) {
    for (int64_t j = 0, step = dims ? steps[dims - 1] : 0; j < run; ++j) function(i + j, at + j * step);
    for (int64_t d = dims - 2; d >= 0; --d) {
      at += steps[d];
      if (++index[d] < shape[d]) break;
      at -= steps[d] * shape[d];
      index[d] = 0;
    }
  }
}

template <class T>
void lay_out(const Tensor& t, at::IntArrayRef shape, Tensor& to) {
  const T* from = static_cast<const T*>(t.const_data_ptr());
  T* out = static_cast<T*>(to.mutable_data_ptr());
  each(shape, t.sizes(), t.strides(), [&](int64_t i, int64_t at) { out[i] = from[at]; });
}

Tensor empty(at::IntArrayRef sizes, at::ScalarType dtype, const at::Device& device = at::kCPU) {
  const auto options = at::TensorOptions().dtype(dtype).device(device);
  // Which users, and tests, may fill with NaN.
  if (!device.is_cpu() || at::globalContext().deterministicAlgorithms()) return at::empty(sizes, options);
  return at::detail::empty_cpu(sizes, options);
}

// One number.
template <class T>
Tensor number(at::IntArrayRef sizes, double value) {
  auto tensor = empty(sizes, c10::CppTypeToScalarType<T>::value);
  *static_cast<T*>(tensor.mutable_data_ptr()) = static_cast<T>(value);
  return tensor;
}

// The sum over dimensions that a tensor of these sizes is broadcast along.
template <class T>
Tensor summed(const Tensor& whole, at::IntArrayRef sizes) {
  auto tensor = empty(sizes, whole.scalar_type());
  const auto* from = static_cast<const T*>(whole.const_data_ptr());
  auto* to = static_cast<T*>(tensor.mutable_data_ptr());
  std::vector<double> sums(tensor.numel(), 0.0);
  each(whole.sizes(), sizes, tensor.strides(), [&](int64_t i, int64_t at) { sums[at] += from[i]; });
  std::transform(sums.begin(), sums.end(), to, [](double sum) { return static_cast<T>(sum); });
  return tensor;
}

}  // namespace rsample
