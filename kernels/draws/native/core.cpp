// Draws at the cost of a C call, with the gradient as a C++ autograd node.
//
// What Python does for a draw, eager and watched by nobody, costs more than drawing few numbers. This does the same: it
// takes a key, allocates, and records the gradient; and on the CPU it runs the loop that engines/cpu/elementwise.py has built, or the
// interpreter, on a GPU the kernel that Python has launched for a draw of the kind before. Whatever is not plain here (a
// mode, a transform, a subclass, a layout that loops do not read, a capture, a second derivative) is left to Python,
// whose classes are the specification: same key, same bits, same gradients.
//
// native_core.py builds and loads it.

#include <Python.h>

#include "checks.h"
#include "elementwise.h"
#include "keys.h"
#include "matrix_checks.h"
#include "products.h"
#include "rows.h"

namespace rsample {

// law(Law, name, parameters, outputs, cotangents, location, linear, elements in a block of 2, 4 and 8 bytes, bounds32,
// bounds64): its handle.
PyObject* law(PyObject*, PyObject* args) {
  auto made = std::make_unique<Law>();
  PyObject *cotangents, *bounds32, *bounds64;
  const char* name;
  int linear;
  if (!PyArg_ParseTuple(args, "OsiiO!ip(LLL)O!O!", &made->told, &name, &made->parameters, &made->outputs, &PyTuple_Type,
                        &cotangents, &made->location, &linear, &made->elements[0], &made->elements[1],
                        &made->elements[2], &PyTuple_Type, &bounds32, &PyTuple_Type, &bounds64)) {
    return nullptr;
  }
  made->name = name;
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
// which `shape` is (from_probs, one_hot), of a check, for which it is (kind,), or of a key's packing, for which it is ().
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
    if (options.empty()) {
      packings.add(kind_of_packing(given[0].device()), std::move(launch));
    } else if (options.size() == 1) {
      checks.add(kind_of_check(given[0], options[0]), std::move(launch));
    } else {
      races.add(kind_of_race(given[0], options[0], options[1]), std::move(launch));
    }
    Py_RETURN_NONE;
  }
  Law& law = *reinterpret_cast<Law*>(handle);
  if (sizes == Py_None) {
    std::vector<const Tensor*> params;
    for (const Tensor& t : given) params.push_back(&t);
    law.forward.add(kind_of_draw(params, integers(shape)), std::move(launch));
    Py_RETURN_NONE;
  }
  std::vector<std::vector<int64_t>> kept;
  for (const auto& item : pybind11::reinterpret_borrow<pybind11::iterable>(sizes)) kept.push_back(integers(item.ptr()));
  const auto wanted = integers(shape);
  Needs needs;
  for (size_t i = 0; i < wanted.size(); ++i) needs[i] = wanted[i];
  law.backward.add(kind_of_gradient(given[0].scalar_type(), given[0].device(), needs, law.parameters, given,
                                    [&](int i) -> at::IntArrayRef { return kept[i]; }),
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

// begin(Tensor, Parameter, context variable, address of the number of open blocks, stream of a device, knobs).
PyObject* begin(PyObject*, PyObject* args) {
  PyObject *tensor, *parameter;
  unsigned long long open;
  if (!PyArg_ParseTuple(args, "OOOKOO", &tensor, &parameter, &python.blocks, &open, &python.stream, &python.knobs)) {
    return nullptr;
  }
  python.open = reinterpret_cast<const int64_t*>(open);
  for (PyObject* kept : {tensor, parameter, python.blocks, python.stream, python.knobs}) {
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
    {"gradients", fast(gradients), METH_FASTCALL, nullptr},
    {"draw_product", fast(draw_product), METH_FASTCALL, nullptr},
    {"reserve_key", fast(reserve_key), METH_FASTCALL, nullptr},
    {"satisfies", fast(satisfies), METH_FASTCALL, nullptr},
    {"check", fast(check), METH_FASTCALL, nullptr},
    {"below", fast(below), METH_FASTCALL, nullptr},
    {"are_matrices", fast(are_matrices), METH_FASTCALL, nullptr},
    {"weighs", fast(weighs), METH_FASTCALL, nullptr},
    {"follow", fast(follow), METH_FASTCALL, nullptr},
    {"race", fast(race), METH_FASTCALL, nullptr},
    {"counts", fast(counts), METH_FASTCALL, nullptr},
    {"relaxed", fast(relaxed), METH_FASTCALL, nullptr},
    {"dirichlet", fast(dirichlet), METH_FASTCALL, nullptr},
    {"learn_walk", fast(learn_walk), METH_FASTCALL, nullptr},
    {"learn_row_function", fast(learn_row_function), METH_FASTCALL, nullptr},
    {"law", law, METH_VARARGS, nullptr},
    {"learn", learn, METH_VARARGS, nullptr},
    {"learn_launch", learn_launch, METH_VARARGS, nullptr},
    {"product", product, METH_VARARGS, nullptr},
    {"learn_loops", learn_loops, METH_VARARGS, nullptr},
    {"learn_product", learn_product, METH_VARARGS, nullptr},
    {"drive", drive, METH_VARARGS, nullptr},
    {"begin", begin, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef module = {PyModuleDef_HEAD_INIT, "rsample_native_core", nullptr, -1, methods};

}  // namespace rsample

PyMODINIT_FUNC PyInit_rsample_native_core() { return PyModule_Create(&rsample::module); }
