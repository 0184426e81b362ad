// Draws on the CPU at the cost of a C call, with the gradient as a C++ autograd node.
//
// What Python does for a draw of few numbers, eager and watched by nobody, costs more than drawing them. This does the
// same: it takes a key, allocates, runs the loop that compiled.py has built or the interpreter, and records the
// gradient. Whatever is not plain here (a mode, a transform, a subclass, a layout that loops do not read, a second
// derivative) is left to Python, whose classes are the specification: same key, same bits, same gradients.
//
// native_core.py builds and loads it.

#include <Python.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/EmptyTensor.h>
#include <ATen/PythonTorchFunctionTLS.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/python_variable.h>

#include <array>
#include <memory>
#include <mutex>
#include <vector>

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Larger draws do not notice Python, and their memory comes in huge pages.
constexpr int64_t MOST_NUMBERS = 1 << 20;
// So many numbers of a parameter that repeats along leading dimensions are laid out here.
constexpr int64_t MOST_REPEATED = 1 << 15;
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
  PyObject* operators;
  int parameters, outputs, location;  // the parameter whose gradient is the sample's, or -1
  bool linear;                        // in the parameters, which backward then does not keep
  std::vector<int64_t> cotangents;
  std::vector<double> bounds64;
  std::vector<float> bounds32;
  Engine engines[2][2];  // of float32 and float64; of few numbers and of many

  Engine& engine(at::ScalarType dtype, int64_t numel) {
    return engines[dtype == at::kDouble][numel >= INTERPRETED_NUMEL];
  }
};

struct {
  PyTypeObject* tensor;
  PyTypeObject* parameter;
  PyObject* blocks;    // the context variable of `use_backend`
  PyObject* backward;  // the gradients by the classes of autograd.py
  c10::DispatchKeySet plain;  // of a tensor in memory of the CPU
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

// Whether a block of `use_backend` is open here, or -1 with an error.
int is_chosen() {
  PyObject* blocks = nullptr;
  if (PyContextVar_Get(python.blocks, nullptr, &blocks) < 0) return -1;
  const int chosen = PyTuple_GET_SIZE(blocks) > 0;
  Py_DECREF(blocks);
  return chosen;
}

bool is_plain(const Tensor& t) {
  constexpr auto extras = c10::autograd_dispatch_keyset_with_ADInplaceOrView;
  return t.key_set() - extras == python.plain;
}

// ----------------------------------------------------------------------------------------------------------- layouts

// How a tensor is read as one of another shape: its dimensions, and one number for all elements, one for each, or some
// that repeat along leading dimensions.
enum Kind : int { ONE = 0, EACH = 1, REPEATED = 2, OTHER = 3 };

Kind kind_of(const Tensor& t, at::IntArrayRef shape, int64_t numel) {
  const auto sizes = t.sizes();
  if (t.numel() == 1 && sizes.size() <= MOST_DIMENSIONS && numel >= 1) {
    if (sizes == shape) return EACH;
    return sizes.size() <= shape.size() ? ONE : OTHER;
  }
  if (!t.is_contiguous()) return OTHER;
  if (sizes == shape) return EACH;
  const bool repeats = sizes.size() < shape.size() && t.numel() > 0 && sizes == shape.slice(shape.size() - sizes.size());
  return repeats && numel <= MOST_REPEATED ? REPEATED : OTHER;
}

// Kinds and numbers of dimensions of all parameters in one integer.
struct Layout {
  int64_t packed = 0;

  void set(int i, Kind kind, int64_t dimensions) { packed |= (kind | dimensions << 2) << (7 * i); }
  Kind kind(int i) const { return static_cast<Kind>(packed >> (7 * i) & 3); }
  int64_t dimensions(int i) const { return packed >> (7 * i + 2) & 31; }
};

Tensor empty(at::IntArrayRef sizes, at::ScalarType dtype) {
  const auto options = at::TensorOptions().dtype(dtype);
  // Which users, and tests, may fill with NaN.
  if (at::globalContext().deterministicAlgorithms()) return at::empty(sizes, options);
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
  // A parameter, or a gradient.
  void read(const Tensor& t, Kind kind, int64_t numel, std::vector<Tensor>& kept) {
    if (kind != REPEATED) return add(t.const_data_ptr(), kind == EACH);
    kept.push_back(empty({numel}, t.scalar_type()));
    auto* to = static_cast<char*>(kept.back().mutable_data_ptr());
    const int64_t bytes = t.nbytes(), all = numel * t.element_size();
    for (int64_t done = 0; done < all; done += bytes) std::memcpy(to + done, t.const_data_ptr(), bytes);
    add(to, 1);
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
  const Engine& engine;
  at::IntArrayRef shape;
  int64_t numel;
  at::ScalarType dtype;
  Layout layout;
  uint64_t seed, offset;
};

variable_list drawn(const Request& r, const variable_list& params) {
  Call call(r.seed, r.offset, r.dtype, r.numel);
  std::vector<Tensor> kept;
  for (int i = 0; i < r.law.parameters; ++i) call.read(params[i], r.layout.kind(i), r.numel, kept);
  for (size_t i = 0; i < r.law.bounds64.size(); ++i) {
    call.add(r.dtype == at::kDouble ? static_cast<const void*>(&r.law.bounds64[i]) : &r.law.bounds32[i], 0);
  }
  variable_list outputs;
  outputs.reserve(r.law.outputs);
  for (int k = 0; k < r.law.outputs; ++k) {
    outputs.push_back(empty(r.shape, r.dtype));
    call.add(outputs.back().mutable_data_ptr(), DENSE);
  }
  run(r.engine.forward, call, r.numel, true);
  return outputs;
}

// The gradients of a draw's parameters by Python, which alone knows derivatives of these and tensors that are not plain.
variable_list gradients_by_python(const Law& law, const variable_list& grads, const variable_list& saved,
                                  at::IntArrayRef shape, const std::vector<bool>& needs, Layout layout) {
  pybind11::gil_scoped_acquire gil;
  const auto tuple = [](const variable_list& tensors) {
    pybind11::tuple result(tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      result[i] = pybind11::reinterpret_steal<pybind11::object>(
          tensors[i].defined() ? THPVariable_Wrap(tensors[i]) : Py_NewRef(Py_None));
    }
    return result;
  };
  pybind11::list dimensions, wanted;
  for (int i = 0; i < law.parameters; ++i) {
    dimensions.append(pybind11::make_tuple(static_cast<int>(layout.kind(i)), layout.dimensions(i)));
    wanted.append(pybind11::bool_(needs[i]));
  }
  pybind11::tuple sizes(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) sizes[i] = pybind11::int_(shape[i]);
  auto result = pybind11::reinterpret_steal<pybind11::object>(
      PyObject_CallFunctionObjArgs(python.backward, law.operators, tuple(grads).ptr(), tuple(saved).ptr(), sizes.ptr(),
                                   wanted.ptr(), dimensions.ptr(), nullptr));
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
    std::vector<int64_t> constants{reinterpret_cast<int64_t>(&r.law), r.layout.packed, static_cast<int64_t>(r.dtype)};
    constants.insert(constants.end(), r.shape.begin(), r.shape.end());
    ctx->saved_data["draw"] = constants;
    if (r.law.cotangents.size() < outputs.size()) ctx->mark_non_differentiable({outputs[0]});
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto constants = ctx->saved_data["draw"].toIntVector();
    Law& law = *reinterpret_cast<Law*>(constants[0]);
    const Layout layout{constants[1]};
    const auto dtype = static_cast<at::ScalarType>(constants[2]);
    const auto shape = at::IntArrayRef(constants).slice(3);
    const auto saved = ctx->get_saved_variables();
    const int64_t numel = c10::multiply_integers(shape);
    variable_list result(1 + law.parameters);
    std::vector<bool> needs(law.parameters);
    bool any = false, simple = !at::GradMode::is_enabled() && unwatched(), given = false;
    for (int i = 0; i < law.parameters; ++i) any |= needs[i] = ctx->needs_input_grad(i);
    for (int64_t k : law.cotangents) {
      given |= grads[k].defined();
      simple &= !grads[k].defined() || (is_plain(grads[k]) && grads[k].scalar_type() == dtype);
    }
    if (!any || !given) return result;
    if (simple) {
      pybind11::gil_scoped_acquire gil;
      simple = is_chosen() == 0;
    }
    const Engine& engine = law.engine(dtype, numel);
    if (!simple || !engine.backward.address) {
      auto gradients = gradients_by_python(law, grads, saved, shape, needs, layout);
      std::move(gradients.begin(), gradients.end(), result.begin() + 1);
      return result;
    }
    const auto* words = static_cast<const int64_t*>(saved[0].const_data_ptr());
    if (law.linear && law.location >= 0 && needs[law.location] && layout.kind(law.location) == EACH) {
      result[1 + law.location] = grads[0];
      needs[law.location] = false;
    }
    if (std::find(needs.begin(), needs.end(), true) == needs.end()) return result;

    static const double zero = 0;  // of either dtype
    Call call(words[0], words[1], dtype, numel);
    std::vector<Tensor> kept;
    for (int64_t k : law.cotangents) {
      const Tensor& grad = grads[k];
      if (!grad.defined()) {
        call.add(&zero, 0);
      } else if (grad.is_contiguous()) {
        call.add(grad.const_data_ptr(), 1);
      } else if (std::all_of(grad.strides().begin(), grad.strides().end(), [](int64_t s) { return s == 0; })) {
        call.add(grad.const_data_ptr(), 0);
      } else {
        kept.push_back(grad.contiguous());
        call.add(kept.back().const_data_ptr(), 1);
      }
    }
    for (int i = 0; i < law.parameters; ++i) {
      if (law.linear) {  // which does not depend on them
        call.add(&zero, 0);
      } else {
        call.read(saved[1 + i], layout.kind(i), numel, kept);
      }
    }
    double sums[MOST_PARAMETERS];
    Tensor each[MOST_PARAMETERS];
    for (int i = 0; i < law.parameters; ++i) {
      if (!needs[i]) {
        call.add(nullptr, UNUSED);
      } else if (layout.kind(i) == ONE) {
        call.add(&sums[i], SUM);
      } else {
        each[i] = empty(shape, dtype);
        call.add(each[i].mutable_data_ptr(), DENSE);
      }
    }
    run(engine.backward, call, numel, false);
    for (int i = 0; i < law.parameters; ++i) {
      if (!needs[i]) continue;
      const int64_t dimensions = layout.dimensions(i);
      if (layout.kind(i) == ONE) {
        const std::vector<int64_t> ones(dimensions, 1);
        result[1 + i] = dtype == at::kDouble ? number<double>(ones, sums[i]) : number<float>(ones, sums[i]);
      } else if (layout.kind(i) == REPEATED) {
        const auto own = shape.slice(shape.size() - dimensions);
        result[1 + i] = dtype == at::kDouble ? summed<double>(each[i], own) : summed<float>(each[i], own);
      } else {
        result[1 + i] = each[i];
      }
    }
    return result;
  }

  template <class T>
  static Tensor number(at::IntArrayRef sizes, double value) {
    auto tensor = empty(sizes, c10::CppTypeToScalarType<T>::value);
    *static_cast<T*>(tensor.mutable_data_ptr()) = static_cast<T>(value);
    return tensor;
  }

  // The sum over leading dimensions.
  template <class T>
  static Tensor summed(const Tensor& each, at::IntArrayRef sizes) {
    auto tensor = empty(sizes, each.scalar_type());
    const auto* from = static_cast<const T*>(each.const_data_ptr());
    auto* to = static_cast<T*>(tensor.mutable_data_ptr());
    const int64_t row = tensor.numel(), numel = each.numel();
    std::vector<double> sums(row, 0.0);
    for (int64_t first = 0; first < numel; first += row) {
      for (int64_t i = 0; i < row; ++i) sums[i] += from[first + i];
    }
    for (int64_t i = 0; i < row; ++i) to[i] = static_cast<T>(sums[i]);
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

// ------------------------------------------------------------------------------------------------- called from Python

// draw(law, params, shape, differentiable): the draw, False where the law has no engine for it yet, None where it is
// left to Python.
PyObject* draw(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  Law& law = *static_cast<Law*>(PyLong_AsVoidPtr(args[0]));
  if (!unwatched() || !PyTuple_Check(args[2])) Py_RETURN_NONE;
  const int chosen = is_chosen();
  if (chosen < 0) return nullptr;
  if (chosen) Py_RETURN_NONE;

  c10::SmallVector<int64_t, 8> shape;
  int64_t numel = 1;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args[2]); ++i) {
    PyObject* size = PyTuple_GET_ITEM(args[2], i);
    if (!PyLong_CheckExact(size)) Py_RETURN_NONE;
    shape.push_back(PyLong_AsLongLong(size));
    numel *= shape.back();
    if (shape.back() <= 0 || numel >= MOST_NUMBERS) Py_RETURN_NONE;
  }
  if (shape.size() > MOST_DIMENSIONS || !PyList_CheckExact(args[1])) Py_RETURN_NONE;

  variable_list params;
  params.reserve(law.parameters);
  Layout layout;
  bool recorded = false;
  for (int i = 0; i < law.parameters; ++i) {
    PyObject* p = PyList_GET_ITEM(args[1], i);
    if (Py_TYPE(p) != python.tensor && Py_TYPE(p) != python.parameter) Py_RETURN_NONE;
    const Tensor& t = THPVariable_Unpack(p);
    if (!is_plain(t) || t._fw_grad(0).defined()) Py_RETURN_NONE;
    const auto dtype = t.scalar_type();
    if ((dtype != at::kFloat && dtype != at::kDouble) || (i && dtype != params[0].scalar_type())) Py_RETURN_NONE;
    const Kind kind = kind_of(t, shape, numel);
    if (kind == OTHER) Py_RETURN_NONE;
    layout.set(i, kind, t.dim());
    recorded |= t.requires_grad();
    params.push_back(t);
  }
  const auto dtype = params[0].scalar_type();
  const Engine& engine = law.engine(dtype, numel);
  if (!engine.known) Py_RETURN_FALSE;
  if (!engine.forward.address) Py_RETURN_NONE;

  const auto key = reserved();
  const Request request{law, engine, shape, numel, dtype, layout, key[0], key[1]};
  recorded = recorded && args[3] == Py_True && !law.cotangents.empty() && at::GradMode::is_enabled();
  const auto outputs = recorded ? Draw::apply(&request, at::TensorList(params)) : drawn(request, params);
  if (outputs.size() == 1) return THPVariable_Wrap(outputs[0]);
  PyObject* result = PyTuple_New(outputs.size());
  for (size_t k = 0; k < outputs.size(); ++k) PyTuple_SET_ITEM(result, k, THPVariable_Wrap(outputs[k]));
  return result;
  END_HANDLE_TH_ERRORS
}

// law(operators, parameters, outputs, cotangents, location, linear, bounds32, bounds64): its handle.
PyObject* law(PyObject*, PyObject* args) {
  auto made = std::make_unique<Law>();
  PyObject *cotangents, *bounds32, *bounds64;
  int linear;
  if (!PyArg_ParseTuple(args, "OiiO!ipO!O!", &made->operators, &made->parameters, &made->outputs, &PyTuple_Type,
                        &cotangents, &made->location, &linear, &PyTuple_Type, &bounds32, &PyTuple_Type, &bounds64)) {
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
  Py_INCREF(made->operators);  // laws last as long as the process
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

// begin(Tensor, Parameter, context variable, backward).
PyObject* begin(PyObject*, PyObject* args) {
  PyObject *tensor, *parameter;
  if (!PyArg_ParseTuple(args, "OOOO", &tensor, &parameter, &python.blocks, &python.backward)) return nullptr;
  for (PyObject* kept : {tensor, parameter, python.blocks, python.backward}) Py_INCREF(kept);
  python.tensor = reinterpret_cast<PyTypeObject*>(tensor);
  python.parameter = reinterpret_cast<PyTypeObject*>(parameter);
  const at::Tensor one = at::detail::empty_cpu({1}, at::TensorOptions());
  python.plain = one.key_set() - c10::autograd_dispatch_keyset_with_ADInplaceOrView;
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"draw", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(draw)), METH_FASTCALL, nullptr},
    {"law", law, METH_VARARGS, nullptr},
    {"learn", learn, METH_VARARGS, nullptr},
    {"begin", begin, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef module = {PyModuleDef_HEAD_INIT, "rsample_native_core", nullptr, -1, methods};

}  // namespace

PyMODINIT_FUNC PyInit_rsample_native_core() { return PyModule_Create(&module); }
