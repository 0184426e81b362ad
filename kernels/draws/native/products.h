// Draws that are a matrix product, on the CPU, and their gradients: by the loops of engines/cpu/product.h.
//
// How the rows of a draw lie, and whether a matrix library multiplies them better, engines/cpu/product.py says, once for
// each kind of draw.

#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>

#include "node.h"
#include "request.h"

namespace rsample {

// What the loops take beside the key and addresses.
struct Plan {
  bool is_drawn;                  // here
  std::vector<int64_t> forward;   // the draw, and the steps of each operand
  std::vector<int64_t> backward;  // the draw; empty where the gradient of the factor is not computed here
};

// The functions of the library for a dtype.
struct Loops {
  void (*forward)(const int64_t*);
  void (*backward)(const int64_t*);
  void (*noise)(void* out, int64_t numel, uint64_t seed, uint64_t offset, uint32_t stream);
};

// What engines/matrix_product.py calls a kind.
struct Product {
  PyObject* told;    // the Product of draws/matrices/native.py
  std::string name;  // of the gradient's node
  int parameters;    // loc, factor and, in some, scale
  bool norm;         // of each row's noise is another output
  Loops loops[2];    // of float32 and float64
  std::unordered_map<Kind, std::shared_ptr<const Plan>, HashOfKind> plans;  // Python's lock guards them
};

Kind kind_of_product(Tensors params, at::IntArrayRef shape) {
  Kind kind;
  add_sizes(kind, shape);
  for (const Tensor* t : params) add_layout(kind, *t);
  return kind;
}

// A draw that is recorded by autograd. It is linear in its parameters.
struct ProductDraw : Recorded {
  const Product& product;
  std::shared_ptr<const Plan> plan;

  template <class... Arguments>
  ProductDraw(const Product& product, std::shared_ptr<const Plan> plan, Arguments&&... arguments)
      : Recorded(std::forward<Arguments>(arguments)...), product(product), plan(std::move(plan)) {}

  PyObject* told() const { return product.told; }
  const std::string& name() const { return product.name; }
  at::ArrayRef<int64_t> cotangents() const {
    static constexpr int64_t outputs[] = {0, 1};  // the norm's gradients are zeros
    return {outputs, product.norm ? 2u : 1u};
  }

  void pass_on(Gradients& g) const {
    if (g.needs[0] && g.given[0].defined() && sizes(0) == shape()) {
      g.result[0] = g.given[0];
      g.needs[0] = false;
    }
  }

  bool compute(Gradients& g) const {
    if (!g.given[0].defined() || (g.needs[1] && plan->backward.empty())) return false;
    dtype == at::kDouble ? compute<double>(g) : compute<float>(g);
    return true;
  }

 private:
  template <class T>
  void compute(Gradients& g) const {
    const Loops& loops = product.loops[dtype == at::kDouble];
    Tensor grad = g.given[0];
    if (!grad.is_contiguous()) {
      grad = empty(shape(), dtype);
      lay_out<T>(g.given[0], shape(), grad);
    }
    if (g.needs[0]) g.result[0] = summed<T>(grad, sizes(0));
    if (g.needs[1]) {
      g.result[1] = empty(sizes(1), dtype);
      std::vector<int64_t> call{static_cast<int64_t>(seed), static_cast<int64_t>(offset)};
      call.insert(call.end(), plan->backward.begin(), plan->backward.end());
      call.push_back(reinterpret_cast<int64_t>(g.result[1].mutable_data_ptr()));
      call.push_back(reinterpret_cast<int64_t>(grad.const_data_ptr()));
      loops.backward(call.data());
    }
    if (parameters > 2 && g.needs[2]) {
      Tensor whole = empty(shape(), dtype);
      T* of_scale = static_cast<T*>(whole.mutable_data_ptr());
      const T* of_sample = static_cast<const T*>(grad.const_data_ptr());
      loops.noise(of_scale, whole.numel(), seed, offset, 0);
      for (int64_t i = 0; i < whole.numel(); ++i) of_scale[i] *= of_sample[i];
      g.result[2] = sizes(2) == shape() ? std::move(whole) : summed<T>(whole, sizes(2));
    }
  }
};

// draw_product(product, params, shape, differentiable): the outputs, a tuple; None where they are left to Python, True
// where the kind has no plan yet, or the dtype no loops.
PyObject* draw_product(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  Product& product = *static_cast<Product*>(PyLong_AsVoidPtr(args[0]));
  if (!PyList_CheckExact(args[1]) || PyList_GET_SIZE(args[1]) != product.parameters) Py_RETURN_NONE;
  Request request;
  const Answer plain = request.read(args[2], PySequence_Fast_ITEMS(args[1]), product.parameters);
  if (plain != Answer::READY) return answered(plain);
  const auto dtype = request.dtype;
  const at::IntArrayRef shape(request.shape);
  const Tensors params(request.params);
  if (!request.device.is_cpu() || (dtype != at::kFloat && dtype != at::kDouble)) Py_RETURN_NONE;
  if (request.numel >= MOST_NUMBERS || params[1]->numel() >= MOST_NUMBERS) Py_RETURN_NONE;
  const auto found = product.plans.find(kind_of_product(params, shape));
  if (found == product.plans.end()) Py_RETURN_TRUE;
  const auto plan = found->second;
  if (!plan->is_drawn) Py_RETURN_NONE;
  const Loops& loops = product.loops[dtype == at::kDouble];
  if (!loops.forward) Py_RETURN_TRUE;

  const Key key = reserved();
  c10::SmallVector<Tensor, MOST_OUTPUTS> outputs{empty(shape, dtype)};
  if (product.norm) outputs.push_back(empty(shape.slice(0, shape.size() - 1), dtype));
  // As `Forward` of product.h has them.
  c10::SmallVector<int64_t, 32> call{static_cast<int64_t>(key.seed), static_cast<int64_t>(key.offset)};
  const int64_t* numbers = plan->forward.data();
  const auto add = [&](int count) {
    call.append(numbers, numbers + count);
    numbers += count;
  };
  const auto add_address = [&](const void* address) { call.push_back(reinterpret_cast<int64_t>(address)); };
  add(7);
  add_address(outputs[0].mutable_data_ptr());
  add_address(product.norm ? outputs[1].mutable_data_ptr() : nullptr);
  for (size_t i = 0; i < params.size(); ++i) {
    add_address(params[i]->const_data_ptr());
    add(i == 1 ? 3 : 4);
  }
  if (params.size() == 2) call.append(5, 0);
  if (request.numel + params[1]->numel() < LONG) {
    loops.forward(call.data());
  } else {
    Py_BEGIN_ALLOW_THREADS;
    loops.forward(call.data());
    Py_END_ALLOW_THREADS;
  }
  if (request.requires_grad && args[3] == Py_True && c10::GradMode::is_enabled()) {
    record(ProductDraw(product, plan, key.seed, key.offset, dtype, request.device, shape, params), params, Tensors(),
           outputs);
  }
  PyObject* result = PyTuple_New(outputs.size());
  for (size_t k = 0; k < outputs.size(); ++k) PyTuple_SET_ITEM(result, k, THPVariable_Wrap(std::move(outputs[k])));
  return result;
  END_HANDLE_TH_ERRORS
}

// product(Product, name, parameters, norm): its handle.
PyObject* product(PyObject*, PyObject* args) {
  auto made = std::make_unique<Product>();
  const char* name;
  int norm;
  if (!PyArg_ParseTuple(args, "Osip", &made->told, &name, &made->parameters, &norm)) return nullptr;
  made->name = name;
  made->norm = norm;
  Py_INCREF(made->told);  // kinds last as long as the process
  return PyLong_FromVoidPtr(made.release());
}

// learn_loops(product, is_float64, forward, backward, noise): addresses.
PyObject* learn_loops(PyObject*, PyObject* args) {
  unsigned long long handle, forward, backward, noise;
  int is_float64;
  if (!PyArg_ParseTuple(args, "KpKKK", &handle, &is_float64, &forward, &backward, &noise)) return nullptr;
  reinterpret_cast<Product*>(handle)->loops[is_float64] = {
      reinterpret_cast<decltype(Loops::forward)>(forward), reinterpret_cast<decltype(Loops::backward)>(backward),
      reinterpret_cast<decltype(Loops::noise)>(noise)};
  Py_RETURN_NONE;
}

// learn_product(product, params, shape, forward, backward): how a kind is drawn, both as engines/cpu/product.py flattens them, or
// None.
PyObject* learn_product(PyObject*, PyObject* args) {
  HANDLE_TH_ERRORS
  unsigned long long handle;
  PyObject *params, *shape, *forward, *backward;
  if (!PyArg_ParseTuple(args, "KOOOO", &handle, &params, &shape, &forward, &backward)) return nullptr;
  auto& plans = reinterpret_cast<Product*>(handle)->plans;
  auto plan = std::make_shared<Plan>();
  plan->is_drawn = forward != Py_None;
  if (forward != Py_None) plan->forward = integers(forward);
  if (backward != Py_None) plan->backward = integers(backward);
  std::vector<const Tensor*> tensors;
  const auto given = tensors_of(params);
  for (const Tensor& t : given) tensors.push_back(&t);
  if (plans.size() >= RSAMPLE_MOST_KINDS) plans.clear();
  plans.insert_or_assign(kind_of_product(tensors, integers(shape)), std::move(plan));
  Py_RETURN_NONE;
  END_HANDLE_TH_ERRORS
}

}  // namespace rsample
