// Launches of kernels that Triton has compiled and loaded, as they ran before, on other tensors and another key.

#pragma once

#include <c10/core/impl/VirtualGuardImpl.h>

#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "layout.h"

namespace rsample {

// What a launch depends on, in numbers: dtypes, devices, sizes, strides.
using Kind = std::vector<int64_t>;

struct HashOfKind {
  size_t operator()(const Kind& kind) const {
    uint64_t hash = 0xcbf29ce484222325;
    for (const int64_t number : kind) {
      hash = (hash ^ static_cast<uint64_t>(number)) * 0x9e3779b97f4a7c15;
      hash ^= hash >> 29;
    }
    return hash;
  }
};

void add_sizes(Kind& kind, at::IntArrayRef sizes) {
  kind.push_back(sizes.size());
  kind.insert(kind.end(), sizes.begin(), sizes.end());
}

void add_layout(Kind& kind, const Tensor& t) {
  add_sizes(kind, t.sizes());
  kind.insert(kind.end(), t.strides().begin(), t.strides().end());
}

// The driver's cuLaunchKernel and cuCtxGetCurrent, as soon as Python has told of them.
struct {
  int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
  int (*context)(void**);
} driver;

// Whether a kernel reads a tensor as it lies in memory.
bool is_aligned(const Tensor& t) { return reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 == 0; }

// Whether kernels can be launched from here on a device: it is the current one, also of the driver in this thread.
bool is_ready(const at::Device& device) {
  void* context = nullptr;
  return driver.launch && driver.context(&context) == 0 && context &&
         c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).getDevice() == device;
}

struct Launch {
  void* function;
  unsigned grid, warps, shared;
  std::vector<int64_t> numbers;  // the kernel's arguments between the tensors and the key's
  Tensor unread;                 // what the pointers to a key in memory show
  int scratch;                   // null pointers at the end
  std::vector<int64_t> outputs;  // of a gradient: 0, 1 (one number an element) or 2 (partial sums) for each parameter

  // Of a kernel whose arguments are these tensors, `numbers` and a key, whose offset counts words.
  void operator()(c10::ArrayRef<void*> tensors, uint64_t seed, uint64_t offset, void* stream) const {
    std::vector<int64_t> values;
    values.reserve(tensors.size() + numbers.size() + 6);
    for (void* tensor : tensors) values.push_back(reinterpret_cast<int64_t>(tensor));
    values.insert(values.end(), numbers.begin(), numbers.end());
    const auto nowhere = reinterpret_cast<int64_t>(unread.data_ptr());
    const auto low = static_cast<int64_t>(seed & 0xffffffff), high = static_cast<int64_t>(seed >> 32);
    values.insert(values.end(), {nowhere, nowhere, 0 /* not in memory */, low, high, static_cast<int64_t>(offset)});
    run(values, stream);
  }

  // Of a kernel whose arguments these are; of those of 32 bits the lower half counts.
  void run(std::vector<int64_t>& values, void* stream) const {
    values.resize(values.size() + scratch, 0);
    std::vector<void*> arguments;
    arguments.reserve(values.size());
    for (int64_t& value : values) arguments.push_back(&value);
    const int error = driver.launch(function, grid, 1, 1, 32 * warps, 1, 1, shared, stream, arguments.data(), nullptr);
    TORCH_CHECK(error == 0, "cuLaunchKernel failed with error ", error);
  }
};

// Launches by their kinds, of which a program has few. Threads of autograd look here without Python's lock.
class Launches {
 public:
  std::shared_ptr<const Launch> find(const Kind& kind) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = launches_.find(kind);
    return found == launches_.end() ? nullptr : found->second;
  }
  void add(Kind kind, Launch launch) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (launches_.size() >= RSAMPLE_MOST_KINDS) launches_.clear();
    launches_.insert_or_assign(std::move(kind), std::make_shared<const Launch>(std::move(launch)));
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<Kind, std::shared_ptr<const Launch>, HashOfKind> launches_;
};

}  // namespace rsample
