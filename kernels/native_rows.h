// Draws over rows: a category for each.

#pragma once

#include "native_request.h"

namespace rsample {

// Launches of races on GPUs.
Launches races;

Kind kind_of_race(const Tensor& weights, bool from_probs, bool one_hot) {
  Kind kind{static_cast<int64_t>(weights.scalar_type()), weights.device().index(), from_probs, one_hot};
  add_layout(kind, weights);
  return kind;
}

// The dimensions that draws by inversion step along, as rows/compiled.py describes them, by shapes and strides.
std::unordered_map<Kind, std::vector<int64_t>, HashOfKind> walks;

Kind kind_of_walk(const Tensor& weights, at::IntArrayRef shape) {
  Kind kind;
  add_sizes(kind, shape);
  add_layout(kind, weights);
  return kind;
}

// learn_walk(weights, shape, dimensions).
PyObject* learn_walk(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  if (walks.size() >= RSAMPLE_MOST_KINDS) walks.clear();
  walks.insert_or_assign(kind_of_walk(THPVariable_Unpack(args[0]), integers(args[1])), integers(args[2]));
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

// Runs a function, beside Python where it takes long.
template <class Function>
void beside_python(bool is_long, Function function) {
  if (!is_long) return function();
  Py_BEGIN_ALLOW_THREADS;
  function();
  Py_END_ALLOW_THREADS;
}

// Several categories from each row on the CPU, by the function `inversion` of rows/compiled.py; True where the walk is
// not known.
PyObject* inverted(void* function, const Tensor& weights, at::IntArrayRef shape, bool from_probs) {
  using Function = void (*)(const void*, const int64_t*, const uint64_t*, bool, int64_t*);
  const auto batch = shape.slice(0, shape.size() - 1);
  const int64_t k = shape.back(), draws = c10::multiply_integers(batch);
  if (!weights.is_cpu() || !weights.is_contiguous() || weights.dim() == 0 || !broadcasts(weights.sizes(), shape)) {
    Py_RETURN_NONE;
  }
  if (weights.size(-1) != k || weights.numel() / k >= draws || draws >= MOST_NUMBERS) Py_RETURN_NONE;
  const auto walk = walks.find(kind_of_walk(weights, shape));
  if (walk == walks.end()) Py_RETURN_TRUE;
  const Tensor index = empty(batch, at::kLong);
  const Key taken = reserved();
  const uint64_t key[] = {taken.seed, taken.offset};
  beside_python(draws + weights.numel() >= LONG, [&, dimensions = walk->second] {
    reinterpret_cast<Function>(function)(weights.const_data_ptr(), dimensions.data(), key, from_probs,
                                         static_cast<int64_t*>(index.mutable_data_ptr()));
  });
  return THPVariable_Wrap(index);
}

// race(functions, weights, shape, from_probs, one_hot): a category for each row of a draw, on the CPU by the functions
// `race` and `inversion` of rows/compiled.py, a tuple; None where it is left to Python, True where it has no launch or
// walk.
PyObject* race(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  using Function = void (*)(const void*, int64_t, const int64_t*, const int64_t*, int64_t, int64_t, uint64_t, uint64_t,
                            bool, int64_t*, void*, void*);
  Request request;
  const Answer plain = request.read(args[2], args + 1, 1);
  if (plain != Answer::READY) return answered(plain);
  const at::IntArrayRef sizes(request.shape);
  if (sizes.empty()) Py_RETURN_NONE;
  const Tensor& weights = *request.params[0];
  const bool from_probs = args[3] == Py_True, one_hot = args[4] == Py_True;
  if (weights.sizes() != sizes) {
    if (one_hot || !weights.is_cpu()) Py_RETURN_NONE;
    return inverted(PyLong_AsVoidPtr(PyTuple_GET_ITEM(args[0], 1)), weights, sizes, from_probs);
  }

  const auto batch = sizes.slice(0, sizes.size() - 1);
  const auto out = [&] {
    return one_hot ? empty(sizes, request.dtype, request.device) : empty(batch, at::kLong, request.device);
  };
  if (request.device.is_cuda()) {
    const int64_t per_block = request.dtype == at::kDouble ? 2 : 4;
    Key key;
    const Answer ready = request.prepare((request.numel + per_block - 1) / per_block, key,
                                         [&] { return races.find(kind_of_race(weights, from_probs, one_hot)); });
    if (ready != Answer::READY) return answered(ready);
    const Tensor drawn = out();
    request.run(drawn, key);
    return THPVariable_Wrap(drawn);
  }
  if (!weights.is_contiguous() || request.numel >= MOST_NUMBERS) Py_RETURN_NONE;
  const auto function = reinterpret_cast<Function>(PyLong_AsVoidPtr(PyTuple_GET_ITEM(args[0], 0)));
  const Tensor drawn = out(), index = one_hot ? empty(batch, at::kLong) : drawn;
  const Key key = reserved();
  const int64_t k = sizes.back(), rows = request.numel / k;
  beside_python(request.numel >= LONG, [&] {
    function(weights.const_data_ptr(), 1, &rows, &k, rows, k, key.seed, key.offset, from_probs,
             static_cast<int64_t*>(index.mutable_data_ptr()), one_hot ? drawn.mutable_data_ptr() : nullptr, nullptr);
  });
  return THPVariable_Wrap(drawn);
  END_HANDLE_TH_ERRORS
}

}  // namespace rsample
