"""Runs the kernels that Inductor generates for a GPU in the emulator: in a process whose GPU is a stand-in.

What is on the device lies in the host's memory there, so the emulator is given tensors of the CPU over the same memory.
Kernels of torch itself do not run there. Generated kernels are compiled as eager ones are, without contracting products
and sums that stand apart: so fused draws equal eager ones bit for bit.
"""

import ctypes

import gpu_emulator
import torch
from torch._inductor import config
from torch._inductor.async_compile import AsyncCompile, _load_triton_kernel_from_source
from torch._inductor.runtime.triton_heuristics import GridExpr

# The sources of the kernels that were run since it was cleared, by name.
SOURCES = {}


def on_the_host(tensor):
    """A tensor of the CPU over the memory of one of the stand-in."""
    if not isinstance(tensor, torch.Tensor) or tensor.numel() == 0:
        return tensor
    size = 1 + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    memory = (ctypes.c_char * (size * tensor.itemsize)).from_address(tensor.data_ptr())
    return torch.as_strided(torch.frombuffer(memory, dtype=tensor.dtype, count=size), tensor.shape, tensor.stride())


def on_the_device(tensor):
    """A copy of a tensor of the CPU on the stand-in."""
    copy = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")
    on_the_host(copy).copy_(tensor.detach())
    return copy.requires_grad_(tensor.requires_grad)


class _Kernel:
    """A generated kernel, run in the first of the configurations that Inductor would choose from."""

    def __init__(self, name, source):
        self.name, self.source = name, source
        self.tuner = _load_triton_kernel_from_source(name, source)

    def run(self, *args, stream=None):
        SOURCES[self.name] = self.source
        chosen, function = self.tuner.configs[0], self.tuner.fn
        names = [name for name in function.arg_names if name not in chosen.kwargs]
        meta = self.tuner.inductor_meta
        expression = GridExpr.from_meta(meta, chosen)
        scope = dict(zip((*names, *meta.get("extra_launcher_args", ())), args, strict=True), **chosen.kwargs)
        for line in expression.prefix:
            exec(line, {}, scope)
        grid = tuple(eval(str(x), {}, scope) for x in (expression.x_grid, expression.y_grid, expression.z_grid))
        given = {name: on_the_host(scope[name]) for name in names}
        with gpu_emulator.activate(memory_stats=False):
            function[grid](**given, **chosen.kwargs, num_warps=chosen.num_warps, enable_fp_fusion=False)


AsyncCompile.triton = lambda self, name, source, device_str="cuda": _Kernel(name, source)
config.compile_threads = 1
