// Draws at the cost of a C call, with the gradient as a C++ autograd node.
//
// What Python does for a draw, eager and watched by nobody, costs more than drawing few numbers. This does the same: it
// takes a key, allocates, and records the gradient; and on the CPU it runs the loop that compiled.py has built, or the
// interpreter, on a GPU the kernel that Python has launched for a draw of the kind before. Whatever is not plain here (a
// mode, a transform, a subclass, a layout that loops do not read, a capture, a second derivative) is left to Python,
// whose classes are the specification: same key, same bits, same gradients.
//
// native_core.py builds and loads it.

#include <Python.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/EmptyTensor.h>
#include <ATen/PythonTorchFunctionTLS.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sum.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/python_variable.h>

#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "native_cuda.h"

namespace rsample {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Larger draws do not notice Python, and their memory comes in huge pages.
constexpr int64_t MOST_NUMBERS = 1 << 20;
// Draws of fewer numbers may have parameters of any layout, which are laid out here.
constexpr int64_t MOST_LAID_OUT = 1 << 15;
// From this size on other threads of Python run meanwhile.
constexpr int64_t LONG = 1 << 12;
// Draws below have an engine of their own, see compiled.py.
constexpr int64_t INTERPRETED_NUMEL = 1 << 10;
constexpr int MOST_PARAMETERS = 8, MOST_OUTPUTS = 2, MOST_DIMENSIONS = 16;

enum Mode : int64_t { DENSE = 0, SUM = 1, UNUSED = 2 };  // of an output, as in elementwise.h

// What runs a draw, or its gradient, over the arguments that `called` in elementwise.h takes.
struct Function {
  void* address = nullptr;
  const void* program = nullptr;  // of the interpreter

  void operator()(const int64_t* call) const {
    if (program) {
      reinterpret_cast<void (*)(const void*, const int64_t*)>(address)(program, call);
    } else {
      reinterpret_cast<void (*)(const int64_t*)>(address)(call);
    }
  }
};

struct Engine {
  bool known = false;
  Function forward, backward;
};

// A map, and what runs it.
struct Law {
  PyObject* told;  // the Law of native_core.py
  int parameters, outputs, location;  // the parameter whose gradient is the sample's, or -1
  bool linear;                        // in the parameters, which backward then does not keep
  std::vector<int64_t> cotangents;
  long long elements[3];  // of a Philox block, in numbers of 2, 4 and 8 bytes
  std::vector<double> bounds64;
  std::vector<float> bounds32;
  Engine engines[2][2];  // of float32 and float64; of few numbers and of many
  Launches forward, backward;

  int64_t per_block(at::ScalarType dtype) const { return elements[dtype == at::kDouble ? 2 : dtype == at::kFloat]; }
  Engine& engine(at::ScalarType dtype, int64_t numel) {
    return engines[dtype == at::kDouble][numel >= INTERPRETED_NUMEL];
  }
};

struct {
  PyTypeObject* tensor;
  PyTypeObject* parameter;
  PyObject* blocks;    // the context variable of `use_backend`
  const volatile int64_t* open;  // how many of its blocks there are in the process
  PyObject* backward;  // the gradients by the classes of autograd.py
  PyObject* stream;    // of a device's number, as an integer
  PyObject* knobs;     // of Triton, which have the hooks of launches; or None
  c10::DispatchKeySet plain;       // of a tensor in memory of the CPU
  c10::DispatchKeySet plain_cuda;  // or of a GPU
} python;

// ---------------------------------------------------------------------------------------------------- what is plain

// Whether nothing sees what runs: no mode, no transform of functorch, no tracer.
bool unwatched() {
  const auto keys = c10::impl::tls_local_dispatch_key_set();
  // Autograd may be passed by where it records nothing anyway, as in inference mode.
  const bool recorded = !at::GradMode::is_enabled() || (keys.excluded_ & c10::autograd_dispatch_keyset).empty();
  return recorded && (keys.included_ - c10::default_included_set).empty() &&
         at::impl::PythonTorchFunctionTLS::stack_len() == 0;
}

// Whether a block of `use_backend` is open here, or -1 with an error. Needs Python's lock where one is open anywhere.
int is_chosen() {
  if (*python.open == 0) return 0;
  PyObject* blocks = nullptr;
  if (PyContextVar_Get(python.blocks, nullptr, &blocks) < 0) return -1;
  const int chosen = PyTuple_GET_SIZE(blocks) > 0;
  Py_DECREF(blocks);
  return chosen;
}

bool is_plain(const Tensor& t) {
  const auto keys = t.key_set() - c10::autograd_dispatch_keyset_with_ADInplaceOrView;
  return keys == python.plain || keys == python.plain_cuda;
}

// Whether Triton has to know of launches, for a profiler; -1 with an error.
int is_hooked() {
  if (python.knobs == Py_None) return 0;
  for (const char* name : {"launch_enter_hook", "launch_exit_hook"}) {
    PyObject* hook = PyObject_GetAttrString(python.knobs, name);
    if (!hook) return -1;
    PyObject* calls = PyObject_GetAttrString(hook, "calls");  // of a chain of functions
    if (!calls) PyErr_Clear();
    const int any = PyObject_IsTrue(calls ? calls : hook);
    Py_XDECREF(calls);
    Py_DECREF(hook);
    if (any) return any;
  }
  return 0;
}

// The stream that a device's kernels are launched on; -1 with an error.
int64_t current_stream(const at::Device& device) {
  PyObject* index = PyLong_FromLong(device.index());
  PyObject* stream = index ? PyObject_CallOneArg(python.stream, index) : nullptr;
  const int64_t number = stream ? PyLong_AsLongLong(stream) : -1;
  Py_XDECREF(stream);
  Py_XDECREF(index);
  return number;
}

// ----------------------------------------------------------------------------------------------------------- layouts

// Whether all elements are one number in memory.
bool is_one(at::IntArrayRef sizes, at::IntArrayRef strides) {
  for (size_t d = 0; d < sizes.size(); ++d) {
    if (sizes[d] != 1 && strides[d] != 0) return false;
  }
  return true;
}

bool broadcasts(at::IntArrayRef sizes, at::IntArrayRef shape) {
  if (sizes.size() > shape.size()) return false;
  const auto own = shape.slice(shape.size() - sizes.size());
  for (size_t d = 0; d < sizes.size(); ++d) {
    if (sizes[d] != own[d] && sizes[d] != 1) return false;
  }
  return true;
}

bool is_one(const Tensor& t) { return is_one(t.sizes(), t.strides()); }

// Calls `function(i, at)` for the elements i of a shape in row-major order, `at` of a tensor that broadcasts to it.
template <class Function>
void each(at::IntArrayRef shape, at::IntArrayRef sizes, at::IntArrayRef strides, Function function) {
  const size_t lead = shape.size() - sizes.size();
  int64_t steps[MOST_DIMENSIONS] = {}, index[MOST_DIMENSIONS] = {}, at = 0, dims = shape.size();
  for (size_t d = 0; d < sizes.size(); ++d) steps[lead + d] = sizes[d] == 1 ? 0 : strides[d];
  const int64_t numel = c10::multiply_integers(shape);
  for (int64_t i = 0; i < numel; ++i) {
    function(i, at);
    for (int64_t d = dims - 1; d >= 0; --d) {
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

// The arguments of `called` in elementwise.h.
struct Call {
  std::array<int64_t, 6 + 2 * (2 * MOST_PARAMETERS + 2 * MOST_OUTPUTS + 3)> numbers;
  int length = 6;

  Call(uint64_t seed, uint64_t offset, at::ScalarType dtype, int64_t numel) {
    numbers = {static_cast<int64_t>(seed), static_cast<int64_t>(offset), dtype == at::kDouble ? 53 : 24, 0, numel, 0};
  }
  void add(const void* data, int64_t mode) {
    numbers[length++] = reinterpret_cast<int64_t>(data);
    numbers[length++] = mode;
  }
  // A parameter, or a gradient, of the draw's shape or one that broadcasts to it; what is `kept` lasts for the call.
  void read(const Tensor& t, at::IntArrayRef shape, std::vector<Tensor>& kept) {
    if (is_one(t)) return add(t.const_data_ptr(), 0);
    if (t.sizes() == shape && t.is_contiguous()) return add(t.const_data_ptr(), 1);
    kept.push_back(empty(shape, t.scalar_type()));
    t.scalar_type() == at::kDouble ? lay_out<double>(t, shape, kept.back()) : lay_out<float>(t, shape, kept.back());
    add(kept.back().const_data_ptr(), 1);
  }
};

template <class Run>
void run(const Run& function, const Call& call, int64_t numel, bool holds_gil) {
  if (numel < LONG || !holds_gil) return function(call.numbers.data());
  Py_BEGIN_ALLOW_THREADS;
  function(call.numbers.data());
  Py_END_ALLOW_THREADS;
}

// ------------------------------------------------------------------------------------------------------------- draws

struct Request {
  Law& law;
  at::IntArrayRef shape;
  int64_t numel;
  at::ScalarType dtype;
  at::Device device;
  const Engine* engine;  // on the CPU
  std::shared_ptr<const Launch> launch;  // on a GPU
  void* stream;
  uint64_t seed, offset;  // in blocks on the CPU, in words on a GPU
};

variable_list drawn(const Request& r, const variable_list& params) {
  variable_list outputs;
  outputs.reserve(r.law.outputs);
  for (int k = 0; k < r.law.outputs; ++k) outputs.push_back(empty(r.shape, r.dtype, r.device));
  if (r.launch) {
    std::vector<void*> tensors;
    for (const Tensor& t : outputs) tensors.push_back(t.data_ptr());
    for (const Tensor& t : params) tensors.push_back(t.data_ptr());
    (*r.launch)(tensors, r.seed, r.offset, r.stream);
    return outputs;
  }
  Call call(r.seed, r.offset, r.dtype, r.numel);
  std::vector<Tensor> kept;
  for (const Tensor& t : params) call.read(t, r.shape, kept);
  for (size_t i = 0; i < r.law.bounds64.size(); ++i) {
    call.add(r.dtype == at::kDouble ? static_cast<const void*>(&r.law.bounds64[i]) : &r.law.bounds32[i], 0);
  }
  for (const Tensor& t : outputs) call.add(t.mutable_data_ptr(), DENSE);
  run(r.engine->forward, call, r.numel, true);
  return outputs;
}

// What a draw's node knows beside the tensors that it keeps.
struct Recorded {
  Law& law;
  at::ScalarType dtype;
  at::Device device;
  at::IntArrayRef shape;
  std::vector<at::IntArrayRef> sizes;  // of the parameters

  static std::vector<int64_t> packed(const Request& r, const variable_list& params) {
    std::vector<int64_t> numbers{reinterpret_cast<int64_t>(&r.law), static_cast<int64_t>(r.dtype), r.device.is_cuda(),
                                 r.device.index()};
    add_sizes(numbers, r.shape);
    for (const Tensor& t : params) add_sizes(numbers, t.sizes());
    return numbers;
  }
  explicit Recorded(at::IntArrayRef numbers)
      : law(*reinterpret_cast<Law*>(numbers[0])),
        dtype(static_cast<at::ScalarType>(numbers[1])),
        device(numbers[2] ? at::kCUDA : at::kCPU, static_cast<at::DeviceIndex>(numbers[3])) {
    numbers = numbers.slice(4);
    const auto next = [&] {
      const auto sizes = numbers.slice(1, numbers[0]);
      numbers = numbers.slice(1 + sizes.size());
      return sizes;
    };
    shape = next();
    for (int i = 0; i < law.parameters; ++i) sizes.push_back(next());
  }
};

// The gradients of a draw's parameters by Python, which alone knows derivatives of these, tensors that are not plain,
// and kernels of a new kind; it `teaches` the kind where it is asked to.
variable_list gradients_by_python(const Recorded& draw, const variable_list& grads, const variable_list& saved,
                                  const std::vector<bool>& needs, bool teaches) {
  pybind11::gil_scoped_acquire gil;
  const auto tensors = [](const variable_list& list) {
    pybind11::tuple result(list.size());
    for (size_t i = 0; i < list.size(); ++i) {
      result[i] = pybind11::reinterpret_steal<pybind11::object>(
          list[i].defined() ? THPVariable_Wrap(list[i]) : Py_NewRef(Py_None));
    }
    return result;
  };
  const auto numbers = [](at::IntArrayRef list) {
    pybind11::tuple result(list.size());
    for (size_t i = 0; i < list.size(); ++i) result[i] = pybind11::int_(list[i]);
    return result;
  };
  pybind11::tuple sizes(draw.sizes.size()), wanted(needs.size());
  for (size_t i = 0; i < needs.size(); ++i) {
    sizes[i] = numbers(draw.sizes[i]);
    wanted[i] = pybind11::bool_(needs[i]);
  }
  auto result = pybind11::reinterpret_steal<pybind11::object>(PyObject_CallFunctionObjArgs(
      python.backward, draw.law.told, tensors(grads).ptr(), tensors(saved).ptr(), numbers(draw.shape).ptr(),
      sizes.ptr(), wanted.ptr(), teaches ? Py_True : Py_False, nullptr));
  if (!result) {
    python_error error;
    error.persist();
    throw error;
  }
  variable_list gradients;
  for (auto item : result) {
    gradients.push_back(item.is_none() ? Tensor() : THPVariable_Unpack(item.ptr()));
  }
  return gradients;
}

// What the launch of a gradient depends on.
Kind kind_of_gradient(at::ScalarType dtype, const at::Device& device, const std::vector<bool>& needs,
                      const variable_list& operands, const std::vector<at::IntArrayRef>& sizes) {
  Kind kind{static_cast<int64_t>(dtype), device.index()};
  for (size_t i = 0; i < needs.size(); ++i) {
    kind.push_back(needs[i]);
    add_sizes(kind, sizes[i]);
  }
  for (const Tensor& t : operands) add_layout(kind, t);
  return kind;
}

// The draws that are recorded by autograd. It keeps the key, and the parameters of laws that are not linear in them.
struct Draw : torch::autograd::Function<Draw> {
  static variable_list forward(AutogradContext* ctx, const Request* request, at::TensorList params) {
    const Request& r = *request;
    auto key = at::detail::empty_cpu({2}, at::TensorOptions().dtype(at::kLong));
    auto* words = static_cast<int64_t*>(key.mutable_data_ptr());
    words[0] = static_cast<int64_t>(r.seed);
    words[1] = static_cast<int64_t>(r.offset);
    variable_list saved{std::move(key)};
    const variable_list given = params.vec();
    if (!r.law.linear) saved.insert(saved.end(), given.begin(), given.end());
    auto outputs = drawn(r, given);
    ctx->save_for_backward(std::move(saved));
    ctx->set_materialize_grads(false);
    ctx->saved_data["draw"] = Recorded::packed(r, given);
    if (r.law.cotangents.size() < outputs.size()) ctx->mark_non_differentiable({outputs[0]});
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto constants = ctx->saved_data["draw"].toIntVector();
    const Recorded draw{constants};
    Law& law = draw.law;
    const auto saved = ctx->get_saved_variables();
    variable_list result(1 + law.parameters);
    std::vector<bool> needs(law.parameters);
    bool any = false, simple = !at::GradMode::is_enabled() && unwatched(), given = false;
    for (int i = 0; i < law.parameters; ++i) any |= needs[i] = ctx->needs_input_grad(i);
    for (int64_t k : law.cotangents) {
      given |= grads[k].defined();
      simple &= !grads[k].defined() || (is_plain(grads[k]) && grads[k].scalar_type() == draw.dtype);
    }
    if (!any || !given) return result;
    std::vector<bool> computed = needs;
    if (simple && law.linear && law.location >= 0 && needs[law.location] && draw.sizes[law.location] == draw.shape) {
      result[1 + law.location] = grads[0];
      computed[law.location] = false;
      if (std::find(computed.begin(), computed.end(), true) == computed.end()) return result;
    }
    const bool on_gpu = draw.device.is_cuda();
    void* stream = nullptr;
    if (simple && (on_gpu || *python.open != 0)) {
      pybind11::gil_scoped_acquire gil;
      const int64_t number = on_gpu && is_ready(draw.device) ? current_stream(draw.device) : 0;
      if (is_chosen() != 0 || number < 0 || (on_gpu && is_hooked() != 0)) {
        PyErr_Clear();
        simple = false;
      }
      stream = reinterpret_cast<void*>(number);
    }
    const bool done = simple && (on_gpu ? launched(draw, grads, saved, computed, stream, result)
                                        : looped(draw, grads, saved, computed, result));
    if (!done) {
      const bool teaches = simple && on_gpu;
      auto gradients = gradients_by_python(draw, grads, saved, teaches ? computed : needs, teaches);
      for (int i = 0; i < law.parameters; ++i) {
        if (gradients[i].defined()) result[1 + i] = std::move(gradients[i]);
      }
    }
    return result;
  }

  // The gradients by the CPU's loop.
  static bool looped(const Recorded& draw, const variable_list& grads, const variable_list& saved,
                     const std::vector<bool>& needs, variable_list& result) {
    const Law& law = draw.law;
    const int64_t numel = c10::multiply_integers(draw.shape);
    const Engine& engine = draw.law.engine(draw.dtype, numel);
    if (!engine.backward.address) return false;
    const auto* words = static_cast<const int64_t*>(saved[0].const_data_ptr());
    static const double zero = 0;  // of either dtype
    Call call(words[0], words[1], draw.dtype, numel);
    std::vector<Tensor> kept;
    for (int64_t k : law.cotangents) {
      grads[k].defined() ? call.read(grads[k], draw.shape, kept) : call.add(&zero, 0);
    }
    for (int i = 0; i < law.parameters; ++i) {  // a linear draw's gradient does not depend on them
      law.linear ? call.add(&zero, 0) : call.read(saved[1 + i], draw.shape, kept);
    }
    double sums[MOST_PARAMETERS];
    Tensor whole[MOST_PARAMETERS];
    for (int i = 0; i < law.parameters; ++i) {
      if (!needs[i]) {
        call.add(nullptr, UNUSED);
      } else if (c10::multiply_integers(draw.sizes[i]) == 1 && numel > 1) {
        call.add(&sums[i], SUM);
      } else {
        whole[i] = empty(draw.shape, draw.dtype);
        call.add(whole[i].mutable_data_ptr(), DENSE);
      }
    }
    run(engine.backward, call, numel, false);
    const bool wide = draw.dtype == at::kDouble;
    for (int i = 0; i < law.parameters; ++i) {
      if (!needs[i]) continue;
      if (!whole[i].defined()) {
        result[1 + i] = wide ? number<double>(draw.sizes[i], sums[i]) : number<float>(draw.sizes[i], sums[i]);
      } else if (draw.sizes[i] == draw.shape) {
        result[1 + i] = whole[i];
      } else {
        result[1 + i] = wide ? summed<double>(whole[i], draw.sizes[i]) : summed<float>(whole[i], draw.sizes[i]);
      }
    }
    return true;
  }

  // The gradients by a kernel that Python has launched before.
  static bool launched(const Recorded& draw, const variable_list& grads, const variable_list& saved,
                       const std::vector<bool>& needs, void* stream, variable_list& result) {
    variable_list operands;
    for (int64_t k : draw.law.cotangents) operands.push_back(grads[k]);
    operands.insert(operands.end(), saved.begin() + 1, saved.end());
    for (const Tensor& t : operands) {
      if (!t.defined() || reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 != 0) return false;
    }
    if (!is_ready(draw.device)) return false;
    const auto launch =
        draw.law.backward.find(kind_of_gradient(draw.dtype, draw.device, needs, operands, draw.sizes));
    if (!launch) return false;
    const auto compute = draw.dtype == at::kDouble ? at::kDouble : at::kFloat;
    std::vector<void*> tensors;
    Tensor outputs[MOST_PARAMETERS];
    for (int i = 0; i < draw.law.parameters; ++i) {
      if (launch->outputs[i] == 0) continue;
      const bool is_sum = launch->outputs[i] == 2;
      outputs[i] = is_sum ? empty({static_cast<int64_t>(launch->grid)}, compute, draw.device)
                          : empty(draw.sizes[i], draw.dtype, draw.device);
      tensors.push_back(outputs[i].data_ptr());
    }
    for (const Tensor& t : operands) tensors.push_back(t.data_ptr());
    const auto* words = static_cast<const int64_t*>(saved[0].const_data_ptr());
    (*launch)(tensors, words[0], words[1], stream);
    for (int i = 0; i < draw.law.parameters; ++i) {
      if (launch->outputs[i] == 0) continue;
      const bool is_sum = launch->outputs[i] == 2;
      result[1 + i] = is_sum ? at::sum(outputs[i]).to(draw.dtype).reshape(draw.sizes[i]) : outputs[i];
    }
    return true;
  }

  template <class T>
  static Tensor number(at::IntArrayRef sizes, double value) {
    auto tensor = empty(sizes, c10::CppTypeToScalarType<T>::value);
    *static_cast<T*>(tensor.mutable_data_ptr()) = static_cast<T>(value);
    return tensor;
  }

  // The sum over dimensions that a tensor of these sizes is broadcast along.
  template <class T>
  static Tensor summed(const Tensor& whole, at::IntArrayRef sizes) {
    auto tensor = empty(sizes, whole.scalar_type());
    const auto* from = static_cast<const T*>(whole.const_data_ptr());
    auto* to = static_cast<T*>(tensor.mutable_data_ptr());
    std::vector<double> sums(tensor.numel(), 0.0);
    each(whole.sizes(), sizes, tensor.strides(), [&](int64_t i, int64_t at) { sums[at] += from[i]; });
    std::transform(sums.begin(), sums.end(), to, [](double sum) { return static_cast<T>(sum); });
    return tensor;
  }
};

// A key as `reserve` of keys.py takes it from the default generator.
std::array<uint64_t, 2> reserved() {
  auto* generator = at::check_generator<at::CPUGeneratorImpl>(at::detail::getDefaultCPUGenerator());
  std::lock_guard<std::mutex> lock(generator->mutex_);
  const uint64_t seed = generator->random64();
  return {seed, generator->random64()};
}

// The same of a GPU's: its seed, and an offset in words. None in a capture, where these lie in the GPU's memory.
std::optional<std::array<uint64_t, 2>> reserved(const at::Device& device, int64_t blocks) {
  auto generator = at::globalContext().defaultGenerator(device);
  std::lock_guard<std::mutex> lock(generator.mutex());
  try {
    const uint64_t seed = generator.current_seed(), offset = generator.get_offset();
    generator.set_offset(offset + 4 * blocks);
    return std::array<uint64_t, 2>{seed, offset};
  } catch (const c10::Error&) {
    return std::nullopt;
  }
}

// ------------------------------------------------------------------------------------------------- called from Python

// A draw's shape; nothing where it is empty, or of symbols.
bool read_shape(PyObject* given, c10::SmallVector<int64_t, 8>& shape) {
  if (!PyTuple_Check(given) || PyTuple_GET_SIZE(given) > MOST_DIMENSIONS) return false;
  int64_t numel = 1;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(given); ++i) {
    PyObject* size = PyTuple_GET_ITEM(given, i);
    if (!PyLong_CheckExact(size)) return false;
    shape.push_back(PyLong_AsLongLong(size));
    // More numbers than there is memory for: the error is Python's.
    if (shape.back() <= 0 || shape.back() > (int64_t{1} << 48) / numel) return false;
    numel *= shape.back();
  }
  return true;
}

Kind kind_of_draw(const variable_list& params, at::IntArrayRef shape) {
  Kind kind{static_cast<int64_t>(params[0].scalar_type()), params[0].device().index()};
  add_sizes(kind, shape);
  for (const Tensor& t : params) add_layout(kind, t);
  return kind;
}

// draw(law, params, shape, differentiable): the draw; None where it is left to Python; False where the law has no engine
// for it yet, True where it has no launch.
PyObject* draw(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  Law& law = *static_cast<Law*>(PyLong_AsVoidPtr(args[0]));
  c10::SmallVector<int64_t, 8> shape;
  if (!unwatched() || !read_shape(args[2], shape) || !PyList_CheckExact(args[1])) Py_RETURN_NONE;
  if (PyList_GET_SIZE(args[1]) != law.parameters) Py_RETURN_NONE;  // an error of Python's
  const int chosen = is_chosen();
  if (chosen < 0) return nullptr;
  if (chosen) Py_RETURN_NONE;

  variable_list params;
  params.reserve(law.parameters);
  bool recorded = false;
  for (int i = 0; i < law.parameters; ++i) {
    PyObject* p = PyList_GET_ITEM(args[1], i);
    if (Py_TYPE(p) != python.tensor && Py_TYPE(p) != python.parameter) Py_RETURN_NONE;
    const Tensor& t = THPVariable_Unpack(p);
    if (!is_plain(t) || t._fw_grad(0).defined()) Py_RETURN_NONE;
    if (i && (t.scalar_type() != params[0].scalar_type() || t.device() != params[0].device())) Py_RETURN_NONE;
    recorded |= t.requires_grad();
    params.push_back(t);
  }
  const auto dtype = params[0].scalar_type();
  const auto device = params[0].device();
  const int64_t numel = c10::multiply_integers(shape);
  Request request{law, shape, numel, dtype, device, nullptr, nullptr, nullptr, 0, 0};
  if (device.is_cuda()) {
    if (!driver.launch) Py_RETURN_TRUE;
    if (!is_ready(device)) Py_RETURN_NONE;
    for (const Tensor& t : params) {
      if (reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 != 0) Py_RETURN_NONE;
    }
    request.launch = law.forward.find(kind_of_draw(params, shape));
    if (!request.launch) Py_RETURN_TRUE;
    const int hooked = is_hooked();
    const int64_t stream = current_stream(device);
    if (hooked < 0 || stream < 0) return nullptr;
    if (hooked) Py_RETURN_NONE;
    const auto key = reserved(device, (numel + law.per_block(dtype) - 1) / law.per_block(dtype));
    if (!key) Py_RETURN_NONE;
    request.stream = reinterpret_cast<void*>(stream);
    request.seed = (*key)[0];
    request.offset = (*key)[1];
  } else {
    if (numel >= MOST_NUMBERS || (dtype != at::kFloat && dtype != at::kDouble)) Py_RETURN_NONE;
    for (const Tensor& t : params) {
      const bool is_read = (t.numel() == 1 && is_one(t)) || (t.sizes() == shape && t.is_contiguous());
      if ((!is_read && numel >= MOST_LAID_OUT) || !broadcasts(t.sizes(), shape)) Py_RETURN_NONE;
    }
    const Engine& engine = law.engine(dtype, numel);
    if (!engine.known) Py_RETURN_FALSE;
    if (!engine.forward.address) Py_RETURN_NONE;
    request.engine = &engine;
    const auto key = reserved();
    request.seed = key[0];
    request.offset = key[1];
  }
  recorded = recorded && args[3] == Py_True && !law.cotangents.empty() && at::GradMode::is_enabled();
  const auto outputs = recorded ? Draw::apply(&request, at::TensorList(params)) : drawn(request, params);
  if (outputs.size() == 1) return THPVariable_Wrap(outputs[0]);
  PyObject* result = PyTuple_New(outputs.size());
  for (size_t k = 0; k < outputs.size(); ++k) PyTuple_SET_ITEM(result, k, THPVariable_Wrap(outputs[k]));
  return result;
  END_HANDLE_TH_ERRORS
}

// ------------------------------------------------------------------------------------------------------------ checks

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
  bool valid = true;
  each(t.sizes(), t.sizes(), t.strides(), [&](int64_t, int64_t at) { valid &= is_of(kind, x[at]); });
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
         t.dim() <= MOST_DIMENSIONS && (t.numel() <= MOST_CHECKED || is_one(t));
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

}  // namespace rsample

#include "native_matrix_checks.h"

namespace rsample {

std::vector<int64_t> integers(PyObject* list) {
  std::vector<int64_t> result;
  for (const auto& item : pybind11::reinterpret_borrow<pybind11::iterable>(list)) {
    result.push_back(static_cast<int64_t>(PyLong_AsUnsignedLongLongMask(item.ptr())));
  }
  return result;
}

variable_list tensors_of(PyObject* list) {
  variable_list result;
  for (const auto& item : pybind11::reinterpret_borrow<pybind11::iterable>(list)) {
    result.push_back(THPVariable_Unpack(item.ptr()));
  }
  return result;
}

// --------------------------------------------------------------------------------------------------------------- rows

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
  Tensor index = empty(batch, at::kLong);
  const auto key = reserved();
  const auto draw = [&, dimensions = walk->second] {
    reinterpret_cast<Function>(function)(weights.const_data_ptr(), dimensions.data(), key.data(), from_probs,
                                         static_cast<int64_t*>(index.mutable_data_ptr()));
  };
  if (draws + weights.numel() < LONG) {
    draw();
  } else {
    Py_BEGIN_ALLOW_THREADS;
    draw();
    Py_END_ALLOW_THREADS;
  }
  return THPVariable_Wrap(index);
}

// learn_walk(weights, shape, dimensions).
PyObject* learn_walk(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  constexpr size_t MOST = 512;  // as in plans.py
  c10::SmallVector<int64_t, 8> shape;
  if (!read_shape(args[1], shape)) Py_RETURN_NONE;
  if (walks.size() >= MOST) walks.clear();
  walks.insert_or_assign(kind_of_walk(THPVariable_Unpack(args[0]), shape), integers(args[2]));
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

// race(functions, weights, shape, from_probs, one_hot): a category for each row of a draw, on the CPU by the functions
// `race` and `inversion` of rows/compiled.py, a tuple; None where it is left to Python, True where it has no launch or
// walk.
PyObject* race(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  using Function = void (*)(const void*, int64_t, const int64_t*, const int64_t*, int64_t, int64_t, uint64_t, uint64_t,
                            bool, int64_t*, void*, void*);
  c10::SmallVector<int64_t, 8> shape;
  if (!unwatched() || !read_shape(args[2], shape) || shape.empty()) Py_RETURN_NONE;
  if (Py_TYPE(args[1]) != python.tensor && Py_TYPE(args[1]) != python.parameter) Py_RETURN_NONE;
  const Tensor& weights = THPVariable_Unpack(args[1]);
  const at::IntArrayRef sizes(shape);
  const bool from_probs = args[3] == Py_True, one_hot = args[4] == Py_True;
  if (!is_plain(weights) || weights._fw_grad(0).defined()) Py_RETURN_NONE;
  const int chosen = is_chosen();
  if (chosen < 0) return nullptr;
  if (chosen) Py_RETURN_NONE;
  if (weights.sizes() != sizes) {
    if (one_hot || !weights.is_cpu()) Py_RETURN_NONE;
    return inverted(PyLong_AsVoidPtr(PyTuple_GET_ITEM(args[0], 1)), weights, sizes, from_probs);
  }

  const auto device = weights.device();
  const auto out = [&] {
    return one_hot ? empty(sizes, weights.scalar_type(), device)
                   : empty(sizes.slice(0, sizes.size() - 1), at::kLong, device);
  };
  const int64_t k = sizes.back(), rows = weights.numel() / k;
  if (device.is_cuda()) {
    if (!driver.launch) Py_RETURN_TRUE;
    if (!is_ready(device) || reinterpret_cast<uintptr_t>(weights.const_data_ptr()) % 16 != 0) Py_RETURN_NONE;
    const auto launch = races.find(kind_of_race(weights, from_probs, one_hot));
    if (!launch) Py_RETURN_TRUE;
    const int hooked = is_hooked();
    const int64_t stream = current_stream(device), per_block = weights.scalar_type() == at::kDouble ? 2 : 4;
    if (hooked < 0 || stream < 0) return nullptr;
    if (hooked) Py_RETURN_NONE;
    const auto key = reserved(device, (weights.numel() + per_block - 1) / per_block);
    if (!key) Py_RETURN_NONE;
    Tensor drawn = out();
    (*launch)({drawn.data_ptr(), weights.data_ptr()}, (*key)[0], (*key)[1], reinterpret_cast<void*>(stream));
    return THPVariable_Wrap(drawn);
  }
  if (!weights.is_contiguous() || weights.numel() >= MOST_NUMBERS) Py_RETURN_NONE;
  const auto function = reinterpret_cast<Function>(PyLong_AsVoidPtr(PyTuple_GET_ITEM(args[0], 0)));
  Tensor drawn = out();
  Tensor index = one_hot ? empty(sizes.slice(0, sizes.size() - 1), at::kLong) : drawn;
  const auto key = reserved();
  const auto draw = [&] {
    function(weights.const_data_ptr(), 1, &rows, &k, rows, k, key[0], key[1], from_probs,
             static_cast<int64_t*>(index.mutable_data_ptr()), one_hot ? drawn.mutable_data_ptr() : nullptr, nullptr);
  };
  if (weights.numel() < LONG) {
    draw();
  } else {
    Py_BEGIN_ALLOW_THREADS;
    draw();
    Py_END_ALLOW_THREADS;
  }
  return THPVariable_Wrap(drawn);
  END_HANDLE_TH_ERRORS
}

// law(Law, parameters, outputs, cotangents, location, linear, elements in a block of 2, 4 and 8 bytes, bounds32,
// bounds64): its handle.
PyObject* law(PyObject*, PyObject* args) {
  auto made = std::make_unique<Law>();
  PyObject *cotangents, *bounds32, *bounds64;
  int linear;
  if (!PyArg_ParseTuple(args, "OiiO!ip(LLL)O!O!", &made->told, &made->parameters, &made->outputs, &PyTuple_Type,
                        &cotangents, &made->location, &linear, &made->elements[0], &made->elements[1],
                        &made->elements[2], &PyTuple_Type, &bounds32, &PyTuple_Type, &bounds64)) {
    return nullptr;
  }
  made->linear = linear;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(cotangents); ++i) {
    made->cotangents.push_back(PyLong_AsLong(PyTuple_GET_ITEM(cotangents, i)));
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(bounds32); ++i) {
    made->bounds32.push_back(static_cast<float>(PyFloat_AsDouble(PyTuple_GET_ITEM(bounds32, i))));
    made->bounds64.push_back(PyFloat_AsDouble(PyTuple_GET_ITEM(bounds64, i)));
  }
  if (PyErr_Occurred()) return nullptr;
  Py_INCREF(made->told);  // laws last as long as the process
  return PyLong_FromVoidPtr(made.release());
}

// learn(law, is_float64, is_large, forward, its program, backward, its program): addresses, 0 for none.
PyObject* learn(PyObject*, PyObject* args) {
  unsigned long long handle, numbers[4];
  int is_float64, is_large;
  if (!PyArg_ParseTuple(args, "KppKKKK", &handle, &is_float64, &is_large, &numbers[0], &numbers[1], &numbers[2],
                        &numbers[3])) {
    return nullptr;
  }
  Engine& engine = reinterpret_cast<Law*>(handle)->engines[is_float64][is_large];
  engine.forward = {reinterpret_cast<void*>(numbers[0]), reinterpret_cast<void*>(numbers[1])};
  engine.backward = {reinterpret_cast<void*>(numbers[2]), reinterpret_cast<void*>(numbers[3])};
  engine.known = true;
  Py_RETURN_NONE;
}

// learn_launch(law, tensors, shape or needs, sizes of the parameters or None, function, grid, warps, shared, numbers,
// unread, scratch, outputs): the launch of a draw of parameters, or of gradients of operands; or, of law 0, of a race, for
// which `shape` is (from_probs, one_hot), or of a check, for which it is (kind,).
PyObject* learn_launch(PyObject*, PyObject* args) {
  HANDLE_TH_ERRORS
  unsigned long long handle, function;
  PyObject *tensors, *shape, *sizes, *numbers, *unread, *outputs;
  Launch launch;
  if (!PyArg_ParseTuple(args, "KOOOKIIIOOiO", &handle, &tensors, &shape, &sizes, &function, &launch.grid, &launch.warps,
                        &launch.shared, &numbers, &unread, &launch.scratch, &outputs)) {
    return nullptr;
  }
  const auto given = tensors_of(tensors);
  launch.function = reinterpret_cast<void*>(function);
  launch.numbers = integers(numbers);
  launch.unread = THPVariable_Unpack(unread);
  launch.outputs = integers(outputs);
  if (handle == 0) {
    const auto options = integers(shape);
    if (options.size() == 1) {
      checks.add(kind_of_check(given[0], options[0]), std::move(launch));
    } else {
      races.add(kind_of_race(given[0], options[0], options[1]), std::move(launch));
    }
    Py_RETURN_NONE;
  }
  Law& law = *reinterpret_cast<Law*>(handle);
  if (sizes == Py_None) {
    law.forward.add(kind_of_draw(given, integers(shape)), std::move(launch));
    Py_RETURN_NONE;
  }
  std::vector<std::vector<int64_t>> kept;
  for (const auto& item : pybind11::reinterpret_borrow<pybind11::iterable>(sizes)) kept.push_back(integers(item.ptr()));
  const auto needs = integers(shape);
  law.backward.add(kind_of_gradient(given[0].scalar_type(), given[0].device(), {needs.begin(), needs.end()}, given,
                                    {kept.begin(), kept.end()}),
                   std::move(launch));
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

// drive(cuLaunchKernel, cuCtxGetCurrent): addresses.
PyObject* drive(PyObject*, PyObject* args) {
  unsigned long long launch, context;
  if (!PyArg_ParseTuple(args, "KK", &launch, &context)) return nullptr;
  driver.context = reinterpret_cast<decltype(driver.context)>(context);
  driver.launch = reinterpret_cast<decltype(driver.launch)>(launch);
  Py_RETURN_NONE;
}

// begin(Tensor, Parameter, context variable, address of the number of open blocks, backward, stream of a device, knobs).
PyObject* begin(PyObject*, PyObject* args) {
  PyObject *tensor, *parameter;
  unsigned long long open;
  if (!PyArg_ParseTuple(args, "OOOKOOO", &tensor, &parameter, &python.blocks, &open, &python.backward, &python.stream,
                        &python.knobs)) {
    return nullptr;
  }
  python.open = reinterpret_cast<const int64_t*>(open);
  for (PyObject* kept : {tensor, parameter, python.blocks, python.backward, python.stream, python.knobs}) {
    Py_INCREF(kept);
  }
  python.tensor = reinterpret_cast<PyTypeObject*>(tensor);
  python.parameter = reinterpret_cast<PyTypeObject*>(parameter);
  const at::Tensor one = at::detail::empty_cpu({1}, at::TensorOptions());
  python.plain = one.key_set() - c10::autograd_dispatch_keyset_with_ADInplaceOrView;
  constexpr auto cuda = c10::BackendComponent::CUDABit;
  python.plain_cuda = c10::DispatchKeySet(c10::DispatchKey::CUDA) | c10::getAutocastRelatedKeySetFromBackend(cuda);
  Py_RETURN_NONE;
}

PyCFunction fast(PyObject* (*function)(PyObject*, PyObject* const*, Py_ssize_t)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef methods[] = {
    {"draw", fast(draw), METH_FASTCALL, nullptr},
    {"satisfies", fast(satisfies), METH_FASTCALL, nullptr},
    {"check", fast(check), METH_FASTCALL, nullptr},
    {"below", fast(below), METH_FASTCALL, nullptr},
    {"are_matrices", fast(are_matrices), METH_FASTCALL, nullptr},
    {"weighs", fast(weighs), METH_FASTCALL, nullptr},
    {"race", fast(race), METH_FASTCALL, nullptr},
    {"learn_walk", fast(learn_walk), METH_FASTCALL, nullptr},
    {"law", law, METH_VARARGS, nullptr},
    {"learn", learn, METH_VARARGS, nullptr},
    {"learn_launch", learn_launch, METH_VARARGS, nullptr},
    {"drive", drive, METH_VARARGS, nullptr},
    {"begin", begin, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef module = {PyModuleDef_HEAD_INIT, "rsample_native_core", nullptr, -1, methods};

}  // namespace rsample

PyMODINIT_FUNC PyInit_rsample_native_core() { return PyModule_Create(&rsample::module); }
