// Keys for compiled code, which hands them to the kernels that make its draws.

#pragma once

#include <torch/csrc/Device.h>

#include "request.h"

namespace rsample {

// Launches of the kernel of keys.py that packs a reservation.
Launches packings;

Kind kind_of_packing(const at::Device& device) { return {device.index()}; }

// reserve_key(blocks, device): a packed key from the default generator; None where Python takes it, True where it has to
// tell of the launch first.
PyObject* reserve_key(PyObject*, PyObject* const* args, Py_ssize_t) {
  HANDLE_TH_ERRORS
  const int64_t blocks = PyLong_AsLongLong(args[0]);
  Request request;
  request.device = reinterpret_cast<THPDevice*>(args[1])->device;
  if (!unwatched()) Py_RETURN_NONE;
  Key key;
  if (request.device.is_cpu()) {
    key = reserved();
  } else {
    const Answer ready =
        request.prepare(blocks, key, [&] { return packings.find(kind_of_packing(request.device)); });
    if (ready != Answer::READY) return answered(ready);
  }
  Tensor packed = empty({2}, at::kUInt64, request.device);
  if (request.device.is_cpu()) {
    auto* words = static_cast<uint64_t*>(packed.mutable_data_ptr());
    words[0] = key.seed;
    words[1] = key.offset;
  } else {
    request.run(packed, key);
  }
  return THPVariable_Wrap(std::move(packed));
  END_HANDLE_TH_ERRORS
}

}  // namespace rsample
