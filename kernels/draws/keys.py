"""What key a draw has: the one that it is given, or blocks reserved from a generator; and who is watching."""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple

import torch
import torch.fx.traceback as fx_traceback
from torch import Tensor
from torch._functorch.pyfunctorch import VmapInterpreter, retrieve_all_functorch_interpreters
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode
from torch.utils._device import DeviceContext
from torch.utils.checkpoint import CheckpointPolicy

from ..engines.triton.direct_launch import Program, launch
from ..engines.triton.launch import key_arguments
from ..engines.triton.tiles import load_key
from ..runtime.backend import CPU
from ..runtime.hugepages import torch_empty
from ..runtime.language import HAS_TRITON, tl, triton
from ..stream.compatibility import philox_state
from ..stream.philox_key import WORDS_PER_BLOCK, Key
from .compiling import prepare_reservations, version

_A_KEY_IS = "a key is a uint64 tensor of shape (2,): (seed, offset), as torch.func._random.key(seed) makes it"


def check_key(key: object, device: torch.device) -> Tensor:
    """Raise unless `key` is a packed key that a draw on `device` can read; return it."""
    if not isinstance(key, Tensor):
        raise TypeError(f"key must be a tensor, got {type(key).__name__}; {_A_KEY_IS}")
    if key.dtype != torch.uint64 or key.shape != (2,):
        raise ValueError(f"key has shape {tuple(key.shape)} and dtype {key.dtype}; {_A_KEY_IS}")
    if key.device.type != "cpu" and key.device != device:
        raise RuntimeError(
            f"key is on {key.device}, but the draw is on {device}; a key lies on the same device or on cpu"
        )
    return key


def check_generator(generator: object, device: torch.device) -> torch.Generator | None:
    """Raise unless `generator` is None or a torch.Generator of `device`; return it."""
    if generator is None:
        return None
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    own = generator.device
    if own.type != device.type or (own.index or 0) != (device.index or 0):
        raise RuntimeError(f"generator is on {own}, but the draw is on {device}")
    return generator


def check_source(key: object, generator: object, device: torch.device) -> torch.Generator | None:
    """Raise unless a draw on `device` can take its randomness from this key or generator; return the generator."""
    if key is None:
        return None if generator is None else check_generator(generator, device)
    if generator is not None:
        raise ValueError("key and generator exclude each other: a key already says which sample is drawn")
    check_key(key, device)
    return None


def watched() -> bool:
    """Whether torch.compile, a transform of functorch, a mode or torch.jit.trace sees what runs.

    A draw need not ask which.
    """
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active() or calls_are_seen()


def calls_are_seen() -> bool:
    """Whether a mode or torch.jit.trace sees what is called on plain tensors, and may change what it does."""
    return (
        torch._C._len_torch_dispatch_stack() > 0
        or torch._C._get_tracing_state() is not None
        or (torch._C._len_torch_function_stack() > 0 and not _only_default_devices())
    )


def _only_default_devices() -> bool:
    """Whether the modes of torch functions are those of a default device: nothing that names its device sees them."""
    depth = torch._C._len_torch_function_stack()
    return all(type(torch._C._get_function_stack_at(i)) is DeviceContext for i in range(depth))


class Source(NamedTuple):
    """Where one draw's randomness comes from, and who is watching.

    Attributes:
        key: what the operators take.
        marker: inside functorch's transforms an empty tensor, mapped where the examples of a vmap draw noise of their
            own; None elsewhere and for a mapped key, which says itself how examples differ.
        recorded: torch.compile or torch.jit.trace records the draw, as one call of its operator.
        transformed: functorch's transforms see it.
    """

    key: Key
    marker: Tensor | None
    recorded: bool
    transformed: bool


def take(key: Tensor | None, generator: torch.Generator | None, device: torch.device, blocks: int) -> Source:
    """The source of a draw of `blocks` Philox blocks; `key` and `generator` have been checked."""
    compiling = torch.compiler.is_compiling()
    transformed = not compiling and torch._C._are_functorch_transforms_active()
    recorded = compiling or (not transformed and torch._C._get_tracing_state() is not None)
    marker = None
    if transformed and not (key is not None and torch._C._functorch.is_batchedtensor(key)):
        # rand draws no number here: it gives a mapped tensor in the 'different' mode, a plain one in the 'same' mode,
        # and otherwise raises vmap's own error.
        marker = torch.rand(0, device=device)
    if key is not None:
        return Source(Key((key,)), marker, recorded, transformed)
    if recorded and not compiling:
        return Source(Key((_bits(device, generator),)), marker, recorded, transformed)
    traced = compiling or calls_are_seen()
    # A CUDA generator is asked for a number of blocks, in which vmap counts.
    traced = traced or (transformed and device.type != "cuda")
    taken = (reserve_traceable if traced else reserve)(device, blocks, generator)
    return Source(taken, marker, recorded, transformed)


def reserve(device: torch.device, blocks: int, generator: torch.Generator | None) -> Key:
    """Take `blocks` Philox blocks from a generator, so that no later draw uses them again.

    CUDA generators hand out positions of their own Philox stream (`Generator.philox_state`): no launch, no sync, and
    under graph capture the tensors are device memory that each replay refills. Other generators give 128 random bits,
    the seed and offset of a stream of this draw's own.

    Inside vmap a reservation is made once for all examples.
    """
    if device != CPU and device.type == "cuda":
        if generator is None:
            index = torch.cuda.current_device() if device.index is None else device.index
            generator = torch.cuda.default_generators[index]
        return Key(philox_state(generator, WORDS_PER_BLOCK * blocks * _vmapped_draws()))
    return Key((_bits(device, generator).view(torch.uint64),))


def _bits(device: torch.device, generator: torch.Generator | None) -> Tensor:
    return torch_empty(2, dtype=torch.int64, device=device).random_(-(2**63), None, generator=generator)


def borrow(device: torch.device, blocks: int, generator: torch.Generator | None) -> Key:
    """`reserve` for a draw that keeps no key: on the CPU the tensor is this thread's, for every such draw again."""
    if device != CPU:
        return reserve(device, blocks, generator)
    if not hasattr(_BORROWED, "key"):
        # A tensor made in inference mode cannot be written outside of it.
        with torch.inference_mode(False):
            _BORROWED.bits = torch_empty(2, dtype=torch.int64, device=device)
        _BORROWED.key = Key((_BORROWED.bits.view(torch.uint64),))
    _BORROWED.bits.random_(-(2**63), None, generator=generator)
    key: Key = _BORROWED.key
    return key


_BORROWED = threading.local()


def reserve_traceable(device: torch.device, blocks: int, generator: torch.Generator | None) -> Key:
    """`reserve` as one operator, for tracing, dispatch modes and vmap: a packed key on `device`."""
    mark = version() if torch.compiler.is_compiling() else None
    return Key((torch.ops.rsample.reserve_key(blocks, device=device, generator=generator, version=mark),))


def reserve_packed(
    device: torch.device, blocks: int, generator: torch.Generator | None
) -> tuple[Tensor, Program | None]:
    """`reserve`, as a packed key on `device`.

    Returns:
        The key, and what `launch` returned where a kernel has made it.
    """
    key = reserve(device, blocks, generator)
    if key.is_reservation and HAS_TRITON:
        return packed_on_device(key, device)
    return key.packed().to(device), None


@triton.jit(do_not_specialize=["in_memory", "k0", "k1", "offset"])
def pack_key_kernel(
    out_ptr,
    seed_ptr,
    offset_ptr,
    in_memory: tl.int32,
    k0: tl.uint32,
    k1: tl.uint32,
    offset: tl.uint64,
    KEY: tl.constexpr,
):
    """out = (seed, offset in blocks)."""
    k0, k1, block = load_key(seed_ptr, offset_ptr, in_memory, k0, k1, offset, KEY)
    tl.store(out_ptr, (k1.to(tl.uint64) << 32) | k0.to(tl.uint64))
    tl.store(out_ptr + 1, block)


def packed_on_device(reservation: Key, device: torch.device) -> tuple[Tensor, Program | None]:
    """The packed key of a generator's reservation, on `device`: one launch, no copy from the host, capturable.

    Returns:
        The key, and what `launch` returns.
    """
    packed = torch_empty(2, dtype=torch.uint64, device=device)
    kind, *words = key_arguments(reservation, device)
    options = {"KEY": kind, "num_warps": 1, "enable_fp_fusion": False}
    return packed, launch(pack_key_kernel, (1,), device, packed, *words, **options)


def _vmapped_draws() -> int:
    """How many examples of the surrounding vmaps draw noise of their own."""
    if not torch._C._are_functorch_transforms_active():
        return 1
    return math.prod(
        interpreter.batch_size()
        for interpreter in retrieve_all_functorch_interpreters()
        if isinstance(interpreter, VmapInterpreter) and interpreter.randomness() == "different"
    )


# The key lies on the draw's device, so that compiled code for a GPU holds no CPU tensor.
_LIBRARY = torch.library.Library("rsample", "FRAGMENT")
_LIBRARY.define(
    "reserve_key(SymInt blocks, *, Device device, Generator? generator=None, str? version=None) -> Tensor",
    tags=(torch.Tag.nondeterministic_seeded,),
)


def _reserve_key(
    blocks: int, *, device: torch.device, generator: torch.Generator | None = None, version: str | None = None
) -> Tensor:
    return reserve_packed(device, blocks, generator)[0]


def _reserve_key_fake(blocks: int, *, device: torch.device, **options: Any) -> Tensor:
    return torch.empty(2, dtype=torch.uint64, device=device)


_LIBRARY.impl("reserve_key", _reserve_key, "CompositeExplicitAutograd")
torch.library.register_fake("rsample::reserve_key", _reserve_key_fake, lib=_LIBRARY)


def _recorded_to_be_saved(mode: Any, *args: Any, **options: Any) -> Any:
    """The call as a compiler's tracer records it, marked so that backward keeps the key instead of taking another one.

    Otherwise a compiler that is short of memory would recompute it, and give the gradient of another sample.
    """
    prepare_reservations()
    meta = fx_traceback.current_meta
    before = meta.get("recompute")
    meta["recompute"] = CheckpointPolicy.MUST_SAVE
    try:
        return mode.__torch_dispatch__(torch.ops.rsample.reserve_key.default, (), args, options)
    finally:
        if before is None:
            del meta["recompute"]
        else:
            meta["recompute"] = before


torch.ops.rsample.reserve_key.default.py_impl(ProxyTorchDispatchMode)(_recorded_to_be_saved)
