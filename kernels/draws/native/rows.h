// Draws over rows: a category for each, or a point of the simplex.

#pragma once

#include <ATen/ops/_log_softmax_cpu_dispatch.h>
#include <ATen/ops/_softmax_cpu_dispatch.h>

#include "elementwise.h"
#include "node.h"
#include "request.h"

namespace rsample {

// The functions of engines/cpu/rows.py for weights of one dtype; null as long as nobody has asked for one.
struct RowFunctions {
  using Race = void (*)(const void*, int64_t, const int64_t*, const int64_t*, int64_t, int64_t, uint64_t, uint64_t, bool,
                        int64_t*, void*, void*);
  using Inversion = void (*)(const void*, const int64_t*, const uint64_t*, bool, int64_t*);
  using Scores = void (*)(const void*, int64_t, const int64_t*, const int64_t*, int64_t, int64_t, uint64_t, uint64_t,
                          double, void*, double*, double*);
  using RelaxedGradient = void (*)(const void*, const void*, int64_t, int64_t, double, bool, void*, double*);
  using ProbsGradient = void (*)(const void*, const void*, int64_t, int64_t, bool, void*);

  Race race = nullptr;
  Inversion inversion = nullptr;
  Scores relaxed_scores = nullptr;
  RelaxedGradient relaxed_gradient = nullptr;
  ProbsGradient probs_gradient = nullptr;
};

RowFunctions row_functions[static_cast<int>(at::ScalarType::NumOptions)];

const RowFunctions& functions_for(at::ScalarType dtype) { return row_functions[static_cast<int>(dtype)]; }

// learn_row_function(weights, name, address): for weights of that dtype.
PyObject* learn_row_function(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  RowFunctions& functions = row_functions[static_cast<int>(THPVariable_Unpack(args[0]).scalar_type())];
  const std::string_view name = PyUnicode_AsUTF8(args[1]);
  void* address = PyLong_AsVoidPtr(args[2]);
  const auto take = [&](const char* own, auto& function) {
    if (name == own) function = reinterpret_cast<std::decay_t<decltype(function)>>(address);
  };
  take("race", functions.race);
  take("inversion", functions.inversion);
  take("relaxed_scores", functions.relaxed_scores);
  take("relaxed_gradient", functions.relaxed_gradient);
  take("probs_gradient", functions.probs_gradient);
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

// Launches of races on GPUs.
Launches races;

Kind kind_of_race(const Tensor& weights, bool from_probs, bool one_hot) {
  Kind kind{static_cast<int64_t>(weights.scalar_type()), weights.device().index(), from_probs, one_hot};
  add_layout(kind, weights);
  return kind;
}

// The dimensions that draws by inversion step along, as engines/cpu/rows.py describes them, by shapes and strides.
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

// A tensor as it is, or laid out in row-major order, of a shape that it broadcasts to.
Tensor laid_out(const Tensor& t, at::IntArrayRef shape) {
  if (t.sizes() == shape && t.is_contiguous()) return t;
  Tensor result = empty(shape, t.scalar_type());
  t.scalar_type() == at::kDouble ? lay_out<double>(t, shape, result) : lay_out<float>(t, shape, result);
  return result;
}

// What is left of a gradient of a draw's shape for a parameter that may be broadcast to it.
Tensor reduced(const Tensor& whole, at::IntArrayRef sizes) {
  if (whole.sizes() == sizes) return whole;
  return whole.scalar_type() == at::kDouble ? summed<double>(whole, sizes) : summed<float>(whole, sizes);
}

double value_of(const Tensor& t) {
  return t.scalar_type() == at::kDouble ? *t.const_data_ptr<double>() : *t.const_data_ptr<float>();
}

bool is_wide(at::ScalarType dtype) { return dtype == at::kFloat || dtype == at::kDouble; }

// Whether a draw is recorded that somebody wants to differentiate.
bool is_recorded(const Request& request, PyObject* wanted) {
  return request.requires_grad && wanted == Py_True && c10::GradMode::is_enabled();
}

// What the nodes of draws over rows have in common; `law` is an object of draws/rows/native.py.
struct RowDraw : Recorded {
  PyObject* law;

  RowDraw(PyObject* law, const Key& key, const Request& request, at::IntArrayRef shape)
      : Recorded(key.seed, key.offset, request.dtype, request.device, shape, request.params), law(law) {}

  PyObject* told() const { return law; }
  at::ArrayRef<int64_t> cotangents() const {
    static constexpr int64_t sample = 0;
    return sample;
  }
  void pass_on(Gradients&) const {}
  int64_t k() const { return shape().back(); }
  int64_t rows() const { return c10::multiply_integers(shape()) / k(); }
};

// ------------------------------------------------------------------------------------------------------------- races

// A one-hot draw with the gradient of its probabilities.
struct StraightThroughDraw : RowDraw {
  RowFunctions::ProbsGradient gradient;
  bool from_probs;

  const std::string& name() const {
    static const std::string name = "OneHotCategoricalDrawBackward";
    return name;
  }
  bool compute(Gradients& g) const {
    const auto own = sizes(0);
    const Tensor weights = laid_out(g.saved[0], own), grad = reduced(laid_out(g.given[0], shape()), own);
    const Tensor result = empty(own, dtype);
    gradient(weights.const_data_ptr(), grad.const_data_ptr(), weights.numel() / k(), k(), from_probs,
             result.mutable_data_ptr());
    g.result[0] = result;
    return true;
  }
};

// Several categories from each row on the CPU; UNKNOWN where the walk or the function is.
Answer invert(const Tensor& weights, at::IntArrayRef shape, bool from_probs, Key& key, Tensor& index) {
  const auto batch = shape.slice(0, shape.size() - 1);
  const int64_t k = shape.back(), draws = c10::multiply_integers(batch);
  if (!weights.is_cpu() || !weights.is_contiguous() || weights.dim() == 0 || !broadcasts(weights.sizes(), shape)) {
    return Answer::PYTHON;
  }
  if (weights.size(-1) != k || weights.numel() / k >= draws || draws >= MOST_NUMBERS) return Answer::PYTHON;
  const auto walk = walks.find(kind_of_walk(weights, shape));
  const auto inversion = functions_for(weights.scalar_type()).inversion;
  if (!inversion || walk == walks.end()) return Answer::UNKNOWN;
  index = empty(batch, at::kLong);
  key = reserved();
  const uint64_t words[] = {key.seed, key.offset};
  beside_python(draws + weights.numel() >= LONG, [&, dimensions = walk->second] {
    inversion(weights.const_data_ptr(), dimensions.data(), words, from_probs, index.mutable_data_ptr<int64_t>());
  });
  return Answer::READY;
}

template <class T>
void write_one_hot(const Tensor& index, int64_t k, Tensor& sample) {
  const auto* category = index.const_data_ptr<int64_t>();
  T* row = sample.mutable_data_ptr<T>();
  std::fill_n(row, sample.numel(), T(0));
  for (int64_t i = 0; i < index.numel(); ++i, row += k) row[category[i]] = T(1);
}

// race(law, weights, shape, from_probs, one_hot, differentiable): a category for each row of a draw; None where it is left
// to Python, True where it has no launch, walk or function.
PyObject* race(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  Request request;
  const Answer plain = request.read(args[2], args + 1, 1);
  if (plain != Answer::READY) return answered(plain);
  const at::IntArrayRef sizes(request.shape);
  if (sizes.empty()) Py_RETURN_NONE;
  const Tensor& weights = *request.params[0];
  const bool from_probs = args[3] == Py_True, one_hot = args[4] == Py_True, is_graph = is_recorded(request, args[5]);
  if (is_graph && !is_wide(request.dtype)) Py_RETURN_NONE;
  const auto batch = sizes.slice(0, sizes.size() - 1);
  const int64_t k = sizes.back(), rows = request.numel / k;
  Tensor sample;
  const auto allocate = [&] {
    sample = one_hot ? empty(sizes, request.dtype, request.device) : empty(batch, at::kLong, request.device);
  };
  Key key;
  if (request.device.is_cuda()) {
    if (is_graph || weights.sizes() != sizes) Py_RETURN_NONE;
    const int64_t per_block = request.dtype == at::kDouble ? 2 : 4;
    const Answer ready = request.prepare((request.numel + per_block - 1) / per_block, key,
                                         [&] { return races.find(kind_of_race(weights, from_probs, one_hot)); });
    if (ready != Answer::READY) return answered(ready);
    allocate();
    request.run(sample, key);
    return THPVariable_Wrap(sample);
  }
  const RowFunctions& functions = functions_for(request.dtype);
  if (is_graph && !functions.probs_gradient) return answered(Answer::UNKNOWN);
  if (weights.sizes() != sizes) {
    if (one_hot && !is_wide(request.dtype)) Py_RETURN_NONE;
    Tensor index;
    const Answer ready = invert(weights, sizes, from_probs, key, index);
    if (ready != Answer::READY) return answered(ready);
    if (!one_hot) return THPVariable_Wrap(index);
    allocate();
    request.dtype == at::kDouble ? write_one_hot<double>(index, k, sample) : write_one_hot<float>(index, k, sample);
  } else {
    if (!weights.is_contiguous() || request.numel >= MOST_NUMBERS) Py_RETURN_NONE;
    if (!functions.race) return answered(Answer::UNKNOWN);
    allocate();
    const Tensor index = one_hot ? empty(batch, at::kLong) : sample;
    key = reserved();
    beside_python(request.numel >= LONG, [&, run = functions.race] {
      run(weights.const_data_ptr(), 1, &rows, &k, rows, k, key.seed, key.offset, from_probs,
          index.mutable_data_ptr<int64_t>(), one_hot ? sample.mutable_data_ptr() : nullptr, nullptr);
    });
  }
  if (is_graph) {
    record(StraightThroughDraw{{args[0], key, request, sizes}, functions.probs_gradient, from_probs}, request.params,
           request.params, sample);
  }
  return THPVariable_Wrap(sample);
  END_HANDLE_TH_ERRORS
}

template <class T>
void count(const Tensor& index, int64_t k, Tensor& counts) {
  const int64_t rows = counts.numel() / k;
  const auto* category = index.const_data_ptr<int64_t>();
  T* result = counts.mutable_data_ptr<T>();
  std::fill_n(result, counts.numel(), T(0));
  for (int64_t draw = 0; draw < index.numel(); ++draw) result[draw % rows * k + category[draw]] += T(1);  // exact
}

// counts(probs, shape): how often each category occurs along the first dimension of a draw of this shape; None where it
// is left to Python, True where it has no walk or function.
PyObject* counts(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  Request request;
  const Answer plain = request.read(args[1], args, 1);
  if (plain != Answer::READY) return answered(plain);
  const at::IntArrayRef shape(request.shape);
  if (shape.size() < 2 || !is_wide(request.dtype)) Py_RETURN_NONE;
  Key key;
  Tensor index;
  const Answer ready = invert(*request.params[0], shape, true, key, index);
  if (ready != Answer::READY) return answered(ready);
  Tensor result = empty(shape.slice(1), request.dtype);
  request.dtype == at::kDouble ? count<double>(index, shape.back(), result) : count<float>(index, shape.back(), result);
  return THPVariable_Wrap(result);
  END_HANDLE_TH_ERRORS
}

// ----------------------------------------------------------------------------------------------------------- relaxed

// The rows of logits, as engines/cpu/race.h takes them; false where their categories do not lie side by side.
bool describe_rows(const Tensor& t, at::IntArrayRef shape, Shape& sizes, Shape& strides) {
  if (t.dim() == 0 || !broadcasts(t.sizes(), shape) || t.size(-1) != shape.back()) return false;
  if (t.size(-1) != 1 && t.stride(-1) != 1) return false;
  const int64_t lead = static_cast<int64_t>(shape.size()) - t.dim();
  for (int64_t d = 0; d + 1 < static_cast<int64_t>(shape.size()); ++d) {
    sizes.push_back(shape[d]);
    strides.push_back(d < lead || t.size(d - lead) == 1 ? 0 : t.stride(d - lead));
  }
  if (sizes.empty()) {
    sizes.push_back(1);
    strides.push_back(0);
  }
  return true;
}

// A point of the simplex for each row, or its logarithm; undefined where rows are not as they should be.
Tensor relaxed_sample(RowFunctions::Scores scores_of, const Tensor& logits, const Tensor& temperature,
                      at::IntArrayRef shape, uint64_t seed, uint64_t offset, bool exponentiated) {
  Shape sizes, strides;
  if (!describe_rows(logits, shape, sizes, strides)) return {};
  const Tensor scores = empty(shape, logits.scalar_type());
  const int64_t k = shape.back();
  scores_of(logits.const_data_ptr(), sizes.size(), sizes.data(), strides.data(), scores.numel() / k, k, seed, offset,
            value_of(temperature), scores.mutable_data_ptr(), nullptr, nullptr);
  return exponentiated ? at::cpu::_softmax(scores, -1, false) : at::cpu::_log_softmax(scores, -1, false);
}

// Of logits and a temperature. It keeps these, and small samples, too.
struct RelaxedDraw : RowDraw {
  RowFunctions::Scores scores;
  RowFunctions::RelaxedGradient gradient;
  bool exponentiated;

  const std::string& name() const {
    static const std::string name = "RelaxedCategoricalDrawBackward";
    return name;
  }
  bool compute(Gradients& g) const {
    const Tensor &logits = g.saved[0], &temperature = g.saved[1];
    const Tensor sample =
        g.saved.size() > 2 ? g.saved[2]
                           : relaxed_sample(scores, logits, temperature, shape(), seed, offset, exponentiated);
    if (!sample.defined()) return false;
    const Tensor grad = laid_out(g.given[0], shape()), whole = empty(shape(), dtype);
    double moved = 0;
    gradient(sample.const_data_ptr(), grad.const_data_ptr(), rows(), k(), value_of(temperature), exponentiated,
             whole.mutable_data_ptr(), g.needs[1] ? &moved : nullptr);
    if (g.needs[0]) g.result[0] = reduced(whole, sizes(0));
    if (g.needs[1]) {
      g.result[1] = dtype == at::kDouble ? number<double>(sizes(1), moved) : number<float>(sizes(1), moved);
    }
    return true;
  }
};

// relaxed(law, logits, temperature, shape, exponentiated, differentiable): a draw on the CPU; None where it is left to
// Python, True where it has no function.
PyObject* relaxed(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  Request request;
  const Answer plain = request.read(args[3], args + 1, 2);
  if (plain != Answer::READY) return answered(plain);
  const at::IntArrayRef shape(request.shape);
  const Tensor &logits = *request.params[0], &temperature = *request.params[1];
  if (!request.device.is_cpu() || !is_wide(request.dtype) || request.numel >= MOST_NUMBERS) Py_RETURN_NONE;
  Shape sizes, strides;
  if (temperature.numel() != 1 || shape.empty() || !describe_rows(logits, shape, sizes, strides)) Py_RETURN_NONE;
  const RowFunctions functions = functions_for(request.dtype);
  const bool exponentiated = args[4] == Py_True, is_graph = is_recorded(request, args[5]);
  if (!functions.relaxed_scores || (is_graph && !functions.relaxed_gradient)) return answered(Answer::UNKNOWN);
  const Key key = reserved();
  Tensor sample;
  beside_python(request.numel >= LONG, [&] {
    sample = relaxed_sample(functions.relaxed_scores, logits, temperature, shape, key.seed, key.offset, exponentiated);
  });
  if (is_graph) {
    c10::SmallVector<const Tensor*, 3> saved(request.params);
    Tensor copy;
    if (request.numel <= RSAMPLE_COPIED) {
      copy = empty(shape, request.dtype);
      std::memcpy(copy.mutable_data_ptr(), sample.const_data_ptr(), sample.nbytes());
      saved.push_back(&copy);
    }
    record(RelaxedDraw{{args[0], key, request, shape}, functions.relaxed_scores, functions.relaxed_gradient, exponentiated},
           request.params, saved, sample);
  }
  return THPVariable_Wrap(sample);
  END_HANDLE_TH_ERRORS
}

// --------------------------------------------------------------------------------------------------------- Dirichlet

// The logarithms of gamma numbers.
Tensor log_gammas(const Function& function, const Tensor& concentration, at::IntArrayRef shape, uint64_t seed, uint64_t offset) {
  const Tensor logs = empty(shape, concentration.scalar_type());
  Call call(seed, offset, concentration.scalar_type(), logs.numel());
  std::vector<Tensor> kept;
  call.read(concentration, shape, kept);
  call.add(logs.mutable_data_ptr(), DENSE);
  call.run(function, logs.numel(), false);
  return logs;
}

template <class T>
void keep_above_zero(const Tensor& t) {
  T* x = t.mutable_data_ptr<T>();
  const int64_t n = t.numel();
  constexpr T least = std::numeric_limits<T>::min();
  for (int64_t i = 0; i < n; ++i) x[i] = x[i] < least ? least : x[i];
}

// It keeps the concentration, and logarithms that are few.
struct DirichletDraw : RowDraw {
  Function log_gamma;
  void* gradient;  // null as long as it is not built

  const std::string& name() const {
    static const std::string name = "DirichletDrawBackward";
    return name;
  }
  bool compute(Gradients& g) const {
    using Function = void (*)(const void*, const void*, const void*, int64_t, int64_t, void*);
    if (!gradient) return false;
    const Tensor grad = laid_out(g.given[0], shape()), concentration = laid_out(g.saved[0], shape());
    const Tensor logs = g.saved.size() > 1 ? g.saved[1] : log_gammas(log_gamma, concentration, shape(), seed, offset);
    const Tensor whole = empty(shape(), dtype);
    reinterpret_cast<Function>(gradient)(grad.const_data_ptr(), concentration.const_data_ptr(), logs.const_data_ptr(),
                                         rows(), k(), whole.mutable_data_ptr());
    g.result[0] = reduced(whole, sizes(0));
    return true;
  }
};

// dirichlet(law, the address of what makes gamma numbers, its program, the address of the loop for gradients,
// concentration, shape, differentiable): a draw on the CPU; None where it is left to Python.
PyObject* dirichlet(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  Request request;
  const Answer plain = request.read(args[5], args + 4, 1);
  if (plain != Answer::READY) return answered(plain);
  const at::IntArrayRef shape(request.shape);
  const Tensor& concentration = *request.params[0];
  if (!request.device.is_cpu() || !is_wide(request.dtype) || request.numel >= MOST_NUMBERS) Py_RETURN_NONE;
  const bool is_whole = concentration.sizes() == shape && concentration.is_contiguous();
  if (shape.empty() || (!is_whole && request.numel >= MOST_LAID_OUT)) Py_RETURN_NONE;
  if (!broadcasts(concentration.sizes(), shape)) Py_RETURN_NONE;
  const Function log_gamma{PyLong_AsVoidPtr(args[1]), PyLong_AsVoidPtr(args[2])};
  void* gradient = PyLong_AsVoidPtr(args[3]);
  const Key key = reserved();
  Tensor logs, sample;
  beside_python(request.numel >= LONG, [&] {
    logs = log_gammas(log_gamma, concentration, shape, key.seed, key.offset);
    sample = at::cpu::_softmax(logs, -1, false);
    request.dtype == at::kDouble ? keep_above_zero<double>(sample) : keep_above_zero<float>(sample);
  });
  if (is_recorded(request, args[6])) {
    c10::SmallVector<const Tensor*, 2> saved(request.params);
    if (request.numel <= RSAMPLE_COPIED) saved.push_back(&logs);
    record(DirichletDraw{{args[0], key, request, shape}, log_gamma, gradient}, request.params, saved, sample);
  }
  return THPVariable_Wrap(sample);
  END_HANDLE_TH_ERRORS
}

}  // namespace rsample
