// Elementwise draws, and their gradients.

#pragma once

#include <array>
#include <memory>

#include "node.h"
#include "request.h"

namespace rsample {

enum Mode : int64_t { DENSE = RSAMPLE_DENSE, SUM = RSAMPLE_SUM, UNUSED = RSAMPLE_UNUSED };  // of an output

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

// A law, and what runs it.
struct Law {
  PyObject* told;    // the NativeLaw of native_core.py
  std::string name;  // of the gradient's node
  int parameters, outputs, location;  // the parameter whose gradient is the sample's, or -1
  bool linear;                        // in the parameters, which backward then does not keep
  std::vector<int64_t> cotangents;
  long long elements[3];  // of a Philox block, in numbers of 2, 4 and 8 bytes
  std::vector<double> bounds64;
  std::vector<float> bounds32;
  Engine engines[2][2];  // of float32 and float64; of few numbers and of many
  Launches forward, backward;

  int64_t per_block(at::ScalarType dtype) const { return elements[dtype == at::kDouble ? 2 : dtype == at::kFloat]; }
  const Engine& engine(at::ScalarType dtype, int64_t numel) const {
    return engines[dtype == at::kDouble][numel >= RSAMPLE_INTERPRETED_NUMEL];
  }
};

// The arguments of `called` in elementwise.h.
struct Call {
  std::array<int64_t, 6 + 2 * (2 * MOST_PARAMETERS + 2 * MOST_OUTPUTS + 3)> numbers;
  int length = 6;

  Call(uint64_t seed, uint64_t offset, at::ScalarType dtype, int64_t numel) {
    const int64_t head[] = {static_cast<int64_t>(seed), static_cast<int64_t>(offset), dtype == at::kDouble ? 53 : 24, 0,
                            numel, 0};
    std::copy(std::begin(head), std::end(head), numbers.begin());
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
  void run(const Function& function, int64_t numel, bool holds_gil) const {
    if (numel < LONG || !holds_gil) return function(numbers.data());
    Py_BEGIN_ALLOW_THREADS;
    function(numbers.data());
    Py_END_ALLOW_THREADS;
  }
};

Kind kind_of_draw(Tensors params, at::IntArrayRef shape) {
  Kind kind{static_cast<int64_t>(params[0]->scalar_type()), params[0]->device().index()};
  add_sizes(kind, shape);
  for (const Tensor* t : params) add_layout(kind, *t);
  return kind;
}

// What the launch of a gradient depends on; `sizes_of(i)` are those of a parameter.
template <class SizesOf>
Kind kind_of_gradient(at::ScalarType dtype, const at::Device& device, Needs needs, int parameters,
                      const variable_list& operands, SizesOf sizes_of) {
  Kind kind{static_cast<int64_t>(dtype), device.index()};
  for (int i = 0; i < parameters; ++i) {
    kind.push_back(needs[i]);
    add_sizes(kind, sizes_of(i));
  }
  for (const Tensor& t : operands) add_layout(kind, t);
  return kind;
}

// A draw that is recorded by autograd.
struct ElementwiseDraw : Recorded {
  Law& law;

  template <class... Arguments>
  ElementwiseDraw(Law& law, Arguments&&... arguments) : Recorded(std::forward<Arguments>(arguments)...), law(law) {}

  PyObject* told() const { return law.told; }
  const std::string& name() const { return law.name; }
  at::ArrayRef<int64_t> cotangents() const { return law.cotangents; }

  void pass_on(Gradients& g) const {
    const int i = law.location;
    if (law.linear && i >= 0 && g.needs[i] && sizes(i) == shape()) {
      g.result[i] = g.given[0];
      g.needs[i] = false;
    }
  }

  bool compute(Gradients& g) const { return device.is_cuda() ? launch(g) : loop(g); }

 private:
  // By the CPU's loop.
  bool loop(Gradients& g) const {
    const auto shape = this->shape();
    const int64_t numel = c10::multiply_integers(shape);
    const Engine& engine = law.engine(dtype, numel);
    if (!engine.backward.address) return false;
    static const double zero = 0;  // of either dtype
    Call call(seed, offset, dtype, numel);
    std::vector<Tensor> kept;
    for (const int64_t k : law.cotangents) {
      g.given[k].defined() ? call.read(g.given[k], shape, kept) : call.add(&zero, 0);
    }
    for (int i = 0; i < parameters; ++i) {  // a linear draw's gradient does not depend on them
      law.linear ? call.add(&zero, 0) : call.read(g.saved[i], shape, kept);
    }
    double sums[MOST_PARAMETERS];
    Tensor whole[MOST_PARAMETERS];
    for (int i = 0; i < parameters; ++i) {
      if (!g.needs[i]) {
        call.add(nullptr, UNUSED);
      } else if (c10::multiply_integers(sizes(i)) == 1 && numel > 1) {
        call.add(&sums[i], SUM);
      } else {
        whole[i] = empty(shape, dtype);
        call.add(whole[i].mutable_data_ptr(), DENSE);
      }
    }
    call.run(engine.backward, numel, false);
    const bool wide = dtype == at::kDouble;
    for (int i = 0; i < parameters; ++i) {
      if (!g.needs[i]) continue;
      if (!whole[i].defined()) {
        g.result[i] = wide ? number<double>(sizes(i), sums[i]) : number<float>(sizes(i), sums[i]);
      } else if (sizes(i) == shape) {
        g.result[i] = std::move(whole[i]);
      } else {
        g.result[i] = wide ? summed<double>(whole[i], sizes(i)) : summed<float>(whole[i], sizes(i));
      }
    }
    return true;
  }

  // By a kernel that Python has launched before.
  bool launch(Gradients& g) const {
    variable_list operands;
    for (const int64_t k : law.cotangents) operands.push_back(g.given[k]);
    operands.insert(operands.end(), g.saved.begin(), g.saved.end());
    for (const Tensor& t : operands) {
      if (!t.defined() || !is_aligned(t)) return false;
    }
    if (!is_ready(device)) return false;
    const auto launch = law.backward.find(
        kind_of_gradient(dtype, device, g.needs, parameters, operands, [&](int i) { return sizes(i); }));
    if (!launch) return false;
    const auto compute = dtype == at::kDouble ? at::kDouble : at::kFloat;
    std::vector<void*> tensors;
    Tensor outputs[MOST_PARAMETERS];
    for (int i = 0; i < parameters; ++i) {
      if (launch->outputs[i] == 0) continue;
      const bool is_sum = launch->outputs[i] == 2;
      outputs[i] = is_sum ? empty({static_cast<int64_t>(launch->grid)}, compute, device)
                          : empty(sizes(i), dtype, device);
      tensors.push_back(outputs[i].data_ptr());
    }
    for (const Tensor& t : operands) tensors.push_back(t.data_ptr());
    (*launch)(tensors, seed, offset, g.stream);
    for (int i = 0; i < parameters; ++i) {
      if (launch->outputs[i] == 0) continue;
      const bool is_sum = launch->outputs[i] == 2;
      g.result[i] = is_sum ? at::sum(outputs[i]).to(dtype).reshape(sizes(i)) : outputs[i];
    }
    return true;
  }
};

// draw(law, params, shape, differentiable[, key]): the draw, of a packed key or the default generator; None where it is left
// to Python; False where the law has no engine for it yet, True where it has no launch.
PyObject* draw(PyObject*, PyObject* const* args, Py_ssize_t number) {
  HANDLE_TH_ERRORS
  Law& law = *static_cast<Law*>(PyLong_AsVoidPtr(args[0]));
  // Another number of parameters is an error of Python's.
  if (!PyList_CheckExact(args[1]) || PyList_GET_SIZE(args[1]) != law.parameters) Py_RETURN_NONE;
  Request request;
  const Answer plain = request.read(args[2], PySequence_Fast_ITEMS(args[1]), law.parameters);
  if (plain != Answer::READY) return answered(plain);
  const at::IntArrayRef shape(request.shape);
  const Tensors params(request.params);
  const int64_t numel = request.numel;
  const auto dtype = request.dtype;
  const auto device = request.device;
  const Engine* engine = nullptr;
  const Tensor* given = number > 4 ? &THPVariable_Unpack(args[4]) : nullptr;
  if (given && (!device.is_cpu() || !given->is_cpu() || !given->is_contiguous())) Py_RETURN_NONE;
  Key key;
  if (device.is_cuda()) {
    const int64_t per_block = law.per_block(dtype);
    const Answer ready = request.prepare((numel + per_block - 1) / per_block, key,
                                         [&] { return law.forward.find(kind_of_draw(params, shape)); });
    if (ready != Answer::READY) return answered(ready);
  } else {
    if (numel >= MOST_NUMBERS || (dtype != at::kFloat && dtype != at::kDouble)) Py_RETURN_NONE;
    for (const Tensor* t : params) {
      const bool is_read = (t->numel() == 1 && is_one(*t)) || (t->sizes() == shape && t->is_contiguous());
      if ((!is_read && numel >= MOST_LAID_OUT) || !broadcasts(t->sizes(), shape)) Py_RETURN_NONE;
    }
    engine = &law.engine(dtype, numel);
    if (!engine->known) Py_RETURN_FALSE;
    if (!engine->forward.address) Py_RETURN_NONE;
    if (given) {
      const auto* words = static_cast<const uint64_t*>(given->const_data_ptr());
      key = {words[0], words[1]};
    } else {
      key = reserved();
    }
  }

  c10::SmallVector<Tensor, MOST_OUTPUTS> outputs;
  for (int k = 0; k < law.outputs; ++k) outputs.push_back(empty(shape, dtype, device));
  if (engine) {
    Call call(key.seed, key.offset, dtype, numel);
    std::vector<Tensor> kept;
    for (const Tensor* t : params) call.read(*t, shape, kept);
    for (size_t i = 0; i < law.bounds64.size(); ++i) {
      call.add(dtype == at::kDouble ? static_cast<const void*>(&law.bounds64[i]) : &law.bounds32[i], 0);
    }
    for (const Tensor& t : outputs) call.add(t.mutable_data_ptr(), DENSE);
    call.run(engine->forward, numel, true);
  } else {
    request.run(outputs, key);
  }
  if (request.requires_grad && args[3] == Py_True && !law.cotangents.empty() && c10::GradMode::is_enabled()) {
    record(ElementwiseDraw(law, key.seed, key.offset, dtype, device, shape, params), params,
           law.linear ? Tensors() : params, outputs);
  }
  if (outputs.size() == 1) return THPVariable_Wrap(std::move(outputs[0]));
  PyObject* result = PyTuple_New(outputs.size());
  for (size_t k = 0; k < outputs.size(); ++k) PyTuple_SET_ITEM(result, k, THPVariable_Wrap(std::move(outputs[k])));
  return result;
  END_HANDLE_TH_ERRORS
}

// gradients(law, key, given, params, needs): a list of those that `needs` marks, of a draw on the CPU of a packed key;
// None where it is left to Python. Of the outputs that gradients reach the parameters through all are given.
PyObject* gradients(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  Law& law = *static_cast<Law*>(PyLong_AsVoidPtr(args[0]));
  const Tensor& key = THPVariable_Unpack(args[1]);
  const variable_list given = tensors_of(args[2]), params = tensors_of(args[3]);
  const auto dtype = given[0].scalar_type();
  if (!key.is_cpu() || !key.is_contiguous() || (dtype != at::kFloat && dtype != at::kDouble)) Py_RETURN_NONE;
  for (const Tensor& t : params) {
    if (!is_plain(t) || !t.is_cpu() || t.scalar_type() != dtype) Py_RETURN_NONE;
  }
  variable_list outputs(law.outputs);
  for (size_t i = 0; i < given.size(); ++i) outputs[law.cotangents[i]] = given[i];
  std::vector<const Tensor*> pointers;
  for (const Tensor& t : params) pointers.push_back(&t);
  const auto wanted = integers(args[4]);
  Needs needs;
  for (size_t i = 0; i < wanted.size(); ++i) needs[i] = wanted[i];
  const auto* words = static_cast<const uint64_t*>(key.const_data_ptr());
  const ElementwiseDraw draw(law, words[0], words[1], dtype, given[0].device(), given[0].sizes(), Tensors(pointers));
  variable_list found;
  {
    pybind11::gil_scoped_release released;
    found = gradients_of(draw, outputs, law.linear ? variable_list() : params, needs);
  }
  pybind11::list result;
  for (size_t i = 0; i < found.size(); ++i) {
    if (needs[i]) result.append(pybind11::reinterpret_steal<pybind11::object>(THPVariable_Wrap(std::move(found[i]))));
  }
  return result.release().ptr();
  END_HANDLE_TH_ERRORS
}

}  // namespace rsample
