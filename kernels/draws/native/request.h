// What all draws begin with: the shape and the parameters that Python has given, and a key from the default generator.

#pragma once

#include <ATen/CPUGeneratorImpl.h>

#include <optional>

#include "cuda.h"
#include "watch.h"

namespace rsample {

struct Key {
  uint64_t seed, offset;  // in blocks on the CPU, in words on a GPU
};

// A key as `reserve` of keys.py takes it from the default generator.
Key reserved() {
  auto* generator = at::check_generator<at::CPUGeneratorImpl>(at::detail::getDefaultCPUGenerator());
  const std::lock_guard<std::mutex> lock(generator->mutex_);
  const uint64_t seed = generator->random64();
  return {seed, generator->random64()};
}

// The same of a GPU's: its seed, and an offset in words. None in a capture, where these lie in the GPU's memory.
std::optional<Key> reserved(const at::Device& device, int64_t blocks) {
  auto generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  try {
    const uint64_t seed = generator.current_seed(), offset = generator.get_offset();
    generator.set_offset(offset + 4 * blocks);
    return Key{seed, offset};
  } catch (const c10::Error&) {
    return std::nullopt;
  }
}

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

// What becomes of a request: an error, Python draws, Python has to tell of a launch first, or it is drawn here.
enum class Answer { ERROR, PYTHON, UNKNOWN, READY };

// For Python.
PyObject* answered(Answer answer) {
  if (answer == Answer::ERROR) return nullptr;
  return Py_NewRef(answer == Answer::PYTHON ? Py_None : Py_True);
}

struct Request {
  Shape shape;
  c10::SmallVector<const Tensor*, MOST_PARAMETERS> params;
  int64_t numel = 1;
  at::ScalarType dtype;
  at::Device device = at::kCPU;
  bool requires_grad = false;  // a parameter does
  // On a GPU:
  std::shared_ptr<const Launch> launch;
  void* stream = nullptr;

  // Takes what is given; READY where nobody watches, the shape is not empty, and the parameters are plain tensors of one
  // dtype and device.
  Answer read(PyObject* given, PyObject* const* tensors, Py_ssize_t number) {
    if (!unwatched() || !read_shape(given)) return Answer::PYTHON;
    const int chosen = is_chosen();
    if (chosen != 0) return chosen < 0 ? Answer::ERROR : Answer::PYTHON;
    for (Py_ssize_t i = 0; i < number; ++i) {
      PyObject* p = tensors[i];
      if (Py_TYPE(p) != python.tensor && Py_TYPE(p) != python.parameter) return Answer::PYTHON;
      const Tensor& t = THPVariable_Unpack(p);
      if (!is_plain(t) || t._fw_grad(0).defined()) return Answer::PYTHON;
      if (i == 0) {
        dtype = t.scalar_type();
        device = t.device();
      } else if (t.scalar_type() != dtype || t.device() != device) {
        return Answer::PYTHON;
      }
      requires_grad |= t.requires_grad();
      params.push_back(&t);
    }
    return Answer::READY;
  }

  // On a GPU: finds the launch, by `find`, and takes a key of so many Philox blocks.
  template <class Find>
  Answer prepare(int64_t blocks, Key& key, Find find) {
    if (!driver.launch) return Answer::UNKNOWN;
    if (!is_ready(device)) return Answer::PYTHON;
    for (const Tensor* t : params) {
      if (!is_aligned(*t)) return Answer::PYTHON;
    }
    launch = find();
    if (!launch) return Answer::UNKNOWN;
    const int hooked = is_hooked();
    const int64_t number = current_stream(device);
    if (hooked < 0 || number < 0) return Answer::ERROR;
    if (hooked) return Answer::PYTHON;
    const auto reservation = reserved(device, blocks);
    if (!reservation) return Answer::PYTHON;
    stream = reinterpret_cast<void*>(number);
    key = *reservation;
    return Answer::READY;
  }

  void run(at::ArrayRef<Tensor> outputs, const Key& key) const {
    std::vector<void*> tensors;
    for (const Tensor& t : outputs) tensors.push_back(t.data_ptr());
    for (const Tensor* t : params) tensors.push_back(t->data_ptr());
    (*launch)(tensors, key.seed, key.offset, stream);
  }

 private:
  bool read_shape(PyObject* given) {
    if (!PyTuple_Check(given) || PyTuple_GET_SIZE(given) > MOST_DIMENSIONS) return false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(given); ++i) {
      PyObject* size = PyTuple_GET_ITEM(given, i);
      if (!PyLong_CheckExact(size)) return false;  // a symbol
      shape.push_back(PyLong_AsLongLong(size));
      // More numbers than there is memory for: the error is Python's.
      if (shape.back() <= 0 || shape.back() > (int64_t{1} << 48) / numel) return false;
      numel *= shape.back();
    }
    return true;
  }
};

}  // namespace rsample
