// What is plain: tensors and moments of which Python's own machinery has nothing to see.

#pragma once

#include <Python.h>

#include <ATen/PythonTorchFunctionTLS.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/python_variable.h>

#include "layout.h"

namespace rsample {

// What `begin` has been told.
struct {
  PyTypeObject* tensor;
  PyTypeObject* parameter;
  PyObject* blocks;              // the context variable of `use_backend`
  const volatile int64_t* open;  // how many of its blocks there are in the process
  PyObject* stream;              // of a device's number, as an integer
  PyObject* knobs;               // of Triton, which have the hooks of launches; or None
  c10::DispatchKeySet plain;       // of a tensor in memory of the CPU
  c10::DispatchKeySet plain_cuda;  // or of a GPU
} python;

// Whether nothing sees what runs: no mode, no transform of functorch, no tracer.
bool unwatched() {
  const auto keys = c10::impl::tls_local_dispatch_key_set();
  // Autograd may be passed by where it records nothing anyway, as in inference mode.
  const bool recorded = !c10::GradMode::is_enabled() || (keys.excluded_ & c10::autograd_dispatch_keyset).empty();
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

}  // namespace rsample
