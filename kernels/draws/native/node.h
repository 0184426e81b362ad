// The autograd node of draws: what all kinds of them have in common.
//
// A kind is a class that derives from Recorded, which the node keeps and copies, and that says
//
//   PyObject* told() const            its object in Python, whose method `gradients` computes what is not computed here
//   const std::string& name() const   of the node
//   at::ArrayRef<int64_t> cotangents() const   the outputs, by number, through which gradients reach the parameters
//   void pass_on(Gradients&) const    takes from `needs` the gradients that are an output's, into `result`
//   bool compute(Gradients&) const    those that `needs` marks, into `result`; false where that is left to Python
//
// and `record` makes its outputs part of the graph.

#pragma once

#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/csrc/dynamo/compiled_autograd.h>

#include <mutex>

#include "cuda.h"
#include "watch.h"

namespace rsample {

using torch::autograd::Node;
using NodePointer = decltype(torch::autograd::Edge::function);

// What a gradient depends on, beside the tensors.
struct Recorded {
  uint64_t seed, offset;  // in blocks on the CPU, in words on a GPU
  at::ScalarType dtype;
  at::Device device;
  c10::SmallVector<int64_t, 16> lists;  // the sample's shape and the parameters' sizes, each behind its length
  int parameters;

  Recorded(uint64_t seed, uint64_t offset, at::ScalarType dtype, const at::Device& device, at::IntArrayRef shape,
           Tensors params)
      : seed(seed), offset(offset), dtype(dtype), device(device), parameters(static_cast<int>(params.size())) {
    add(shape);
    for (const Tensor* t : params) add(t->sizes());
  }
  at::IntArrayRef shape() const { return sizes(-1); }
  // Of a parameter.
  at::IntArrayRef sizes(int i) const {
    at::IntArrayRef rest(lists);
    for (; i >= 0; --i) rest = rest.slice(1 + rest[0]);
    return rest.slice(1, rest[0]);
  }

 private:
  void add(at::IntArrayRef sizes) {
    lists.push_back(static_cast<int64_t>(sizes.size()));
    lists.append(sizes.begin(), sizes.end());
  }
};

// The gradients of one backward pass.
struct Gradients {
  const variable_list& given;  // of the outputs; undefined where there is none
  const variable_list& saved;  // what the node has kept
  Needs needs;
  void* stream;           // of a draw on a GPU
  variable_list& result;  // for each parameter
};

// Seed and offset as signed integers, on the CPU.
Tensor key_in_memory(const Recorded& draw) {
  auto key = at::detail::empty_cpu({2}, at::TensorOptions().dtype(at::kLong));
  auto* words = static_cast<int64_t*>(key.mutable_data_ptr());
  words[0] = static_cast<int64_t>(draw.seed);
  words[1] = static_cast<int64_t>(draw.offset);
  return key;
}

// The gradients that `needs` marks by Python, which alone knows derivatives of these, tensors that are not plain, and
// kernels of a new kind; it `teaches` the kind where it is asked to.
template <class Draw>
void compute_by_python(const Draw& draw, Gradients& gradients, bool teaches) {
  pybind11::gil_scoped_acquire gil;
  static PyObject* const method = PyUnicode_InternFromString("gradients");
  const auto wrapped = [](const Tensor& t) {
    return pybind11::reinterpret_steal<pybind11::object>(t.defined() ? THPVariable_Wrap(t) : Py_NewRef(Py_None));
  };
  const auto tensors = [&](const variable_list& list) {
    pybind11::tuple result(list.size());
    for (size_t i = 0; i < list.size(); ++i) result[i] = wrapped(list[i]);
    return result;
  };
  const auto numbers = [](at::IntArrayRef list) {
    pybind11::tuple result(list.size());
    for (size_t i = 0; i < list.size(); ++i) result[i] = pybind11::int_(list[i]);
    return result;
  };
  pybind11::tuple sizes(draw.parameters), needs(draw.parameters);
  for (int i = 0; i < draw.parameters; ++i) {
    sizes[i] = numbers(draw.sizes(i));
    needs[i] = pybind11::bool_(gradients.needs[i]);
  }
  auto computed = pybind11::reinterpret_steal<pybind11::object>(PyObject_CallMethodObjArgs(
      draw.told(), method, wrapped(key_in_memory(draw)).ptr(), tensors(gradients.given).ptr(),
      tensors(gradients.saved).ptr(), numbers(draw.shape()).ptr(), sizes.ptr(), needs.ptr(),
      teaches ? Py_True : Py_False, nullptr));
  if (!computed) {
    python_error error;
    error.persist();
    throw error;
  }
  int i = 0;
  for (auto item : computed) {
    if (!item.is_none()) gradients.result[i] = THPVariable_Unpack(item.ptr());
    ++i;
  }
}

// The gradients of the parameters that `needs` marks, for those of the outputs.
template <class Draw>
variable_list gradients_of(const Draw& draw, const variable_list& given, const variable_list& saved, Needs needs) {
  variable_list result(draw.parameters);
  bool any = false, simple = !c10::GradMode::is_enabled() && unwatched();
  for (const int64_t k : draw.cotangents()) {
    any |= given[k].defined();
    simple &= !given[k].defined() || (is_plain(given[k]) && given[k].scalar_type() == draw.dtype);
  }
  if (!any || needs.none()) return result;
  Gradients gradients{given, saved, needs, nullptr, result};
  if (simple) {
    draw.pass_on(gradients);
    if (gradients.needs.none()) return result;
  }
  const bool on_gpu = draw.device.is_cuda();
  if (simple && (on_gpu || *python.open != 0)) {
    pybind11::gil_scoped_acquire gil;
    const int64_t stream = on_gpu && is_ready(draw.device) ? current_stream(draw.device) : 0;
    if (is_chosen() != 0 || stream < 0 || (on_gpu && is_hooked() != 0)) {
      PyErr_Clear();
      simple = false;
    }
    gradients.stream = reinterpret_cast<void*>(stream);
  }
  if (simple && draw.compute(gradients)) return result;
  const bool teaches = simple && on_gpu;
  if (!teaches) gradients.needs = needs;
  compute_by_python(draw, gradients, teaches);
  return result;
}

// Of one draw. It keeps the parameters that the gradient depends on.
template <class Draw>
class DrawNode final : public Node {
 public:
  DrawNode(Draw draw, torch::autograd::edge_list&& edges) : Node(std::move(edges)), draw_(std::move(draw)) {}

  void save(const Tensor& t) { saved_.emplace_back(t, /*is_output=*/false); }

  std::string name() const override { return draw_.name(); }

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    saved_.clear();
    released_ = true;
  }

  // Compiled autograd makes each tensor an input of its graph, and runs the graph for other draws of the kind.
  void compiled_args(torch::dynamo::autograd::CompiledNodeArgs& args) const override {
    TORCH_CHECK(!released_, torch::autograd::ERR_BACKWARD_TWICE);
    key_ = key_in_memory(draw_);
    args.collect(key_);
    for (const auto& t : saved_) args.collect(t, /*is_output=*/false);
    args.collect(reinterpret_cast<uint64_t>(draw_.told()));
    args.collect(draw_.dtype);
    args.collect(draw_.device);
    for (const int64_t number : draw_.lists) args.collect(number);
  }

  variable_list apply_with_saved(const variable_list& given,
                                 torch::dynamo::autograd::SwapSavedVariables& saved) override {
    namespace compiled = torch::dynamo::autograd;
    saved.before(key_);
    for (auto& t : saved_) saved.before(t);
    std::vector<at::IValue> tensors{key_};
    for (const auto& t : saved_) tensors.emplace_back(t.unpack());
    const auto apply = [draw = draw_, needs = needs()](const variable_list& given,
                                                       const std::vector<at::IValue>& tensors) {
      Draw again = draw;
      const Tensor key = tensors[0].toTensor();
      const auto* words = static_cast<const int64_t*>(key.const_data_ptr());
      again.seed = static_cast<uint64_t>(words[0]);
      again.offset = static_cast<uint64_t>(words[1]);
      variable_list saved;
      for (size_t i = 1; i < tensors.size(); ++i) saved.push_back(tensors[i].toTensor());
      return gradients_of(again, given, saved, needs);
    };
    const auto& compiler = compiled::getPyCompilerInterface();
    const std::vector<at::TypePtr> types(tensors.size(), at::TensorType::get());
    const auto function = compiler->bind_function(saved.get_py_compiler(), name(), apply, types,
                                                  /*is_custom_function=*/true, /*is_traceable=*/false);
    const auto outputs = compiled::IValuePacker<std::vector<std::optional<torch::autograd::InputMetadata>>>::pack(
        compiled::get_input_metadata(next_edges()));
    auto result =
        compiler->call_function(saved.get_py_compiler(), "apply_functional", function, given, tensors, outputs);
    for (auto& t : saved_) saved.after(t);
    saved.after(key_);
    return result;
  }

 protected:
  variable_list apply(variable_list&& given) override {
    variable_list saved;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      TORCH_CHECK(!released_, torch::autograd::ERR_BACKWARD_TWICE);
      saved.reserve(saved_.size());
      for (const auto& t : saved_) saved.push_back(t.unpack());
    }
    return gradients_of(draw_, given, saved, needs());
  }

 private:
  Needs needs() const {
    Needs needs;
    for (int i = 0; i < draw_.parameters; ++i) needs[i] = task_should_compute_output(i);
    return needs;
  }

  const Draw draw_;
  std::vector<torch::autograd::SavedVariable> saved_;
  bool released_ = false;
  mutable Tensor key_;  // for compiled autograd
};

// Torch has counted references to nodes in two ways; what exists of one version only is found by its arguments.
template <class T, class... Arguments>
auto make_node(Arguments&&... arguments) {
  if constexpr (std::is_base_of_v<c10::intrusive_ptr_target, T>) {
    return c10::make_intrusive<T>(std::forward<Arguments>(arguments)...);
  } else {
    return std::shared_ptr<T>(new T(std::forward<Arguments>(arguments)...), [](T* node) { deleteNode(node); });
  }
}

template <class Pointer>
void tell_of_node(const Pointer& node) {
  if constexpr (requires { fire_node_creation_hooks(node); }) fire_node_creation_hooks(node);
}

// Makes the outputs of a draw a function of its parameters, of which backward has those that are `saved`.
template <class Draw>
void record(Draw draw, Tensors params, Tensors saved, at::ArrayRef<Tensor> outputs) {
  torch::autograd::edge_list edges;
  edges.reserve(params.size());
  for (const Tensor* t : params) edges.push_back(torch::autograd::impl::gradient_edge(*t));
  const auto cotangents = draw.cotangents();
  const auto node = make_node<DrawNode<Draw>>(std::move(draw), std::move(edges));
  const NodePointer pointer = node;
  size_t next = 0;
  for (size_t k = 0; k < outputs.size(); ++k) {
    if (next < cotangents.size() && static_cast<size_t>(cotangents[next]) == k) {
      torch::autograd::set_history(outputs[k], pointer);
      ++next;
    } else {
      node->add_input_metadata(Node::undefined_input());
    }
  }
  for (const Tensor* t : saved) node->save(*t);
  tell_of_node(pointer);
}

}  // namespace rsample
