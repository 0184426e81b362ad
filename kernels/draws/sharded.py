"""Draws whose parameters are DTensors: each rank draws its shard of the sample that one device would draw.

An element's noise depends on the key and on its number in the whole sample, not on who draws it. So the gathered sample
is that of one device with the same key, bit for bit, whatever the mesh and the placements; nothing is communicated.

The sample is placed as its parameters: sharded where one of them is, along the same dimension of the sample. A
parameter that is replicated there is cut without communication if it has that dimension, and backward gathers its
gradient; if it has not, its gradient is `Partial`. What would have to be communicated is refused: parameters that are
`Partial`, sharded along different dimensions, or sharded along a dimension in which they broadcast.

A shard that is one run of the sample, as under Shard(0), is one launch, and costs what a sample of its size does. So is
a shard of several runs, as under Shard(1), if these begin and end at multiples of a Philox block's elements: 4, or 2 in
float64; 8 for 2-byte samples; any for draws that loop. On a GPU it then costs some instructions more for the place of
each block. Elsewhere runs are drawn from the multiple before to the multiple behind, which copies parameters and
sample, in as many launches as there are places within a block where runs begin.

Without `key` all ranks reserve the same blocks of their default generators. As for DTensor's own random operators,
these have to be in the same state on all ranks: seeded alike, and used alike since. That is not checked, which would
take communication.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard

from ..engines.outputs import as_tuple
from ..stream.layout import row_major_strides
from ..stream.philox_key import Key
from ..stream.window import windowed_key
from . import keys
from .operators import Operators

# Draws part of a sample of which it is given key, parameters and shape; one tensor or several of the same shape.
DrawPart = Callable[[Key, Sequence[Tensor], Sequence[int]], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Box:
    """What a rank has of a sample of `shape`: `sizes` elements along each dimension, from `starts` on."""

    shape: tuple[int, ...]
    starts: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of_rank(cls, shape: Sequence[int], mesh: DeviceMesh, placements: Sequence[Placement]) -> Box:
        """This rank's part under `placements`, which cut as torch.chunk does; nothing for a rank outside of `mesh`."""
        starts, sizes = [0] * len(shape), list(shape)
        coordinate = mesh.get_coordinate()
        if coordinate is None:
            return cls(tuple(shape), (0,) * len(shape), (0,) * len(shape))
        for rank, ranks, placement in zip(coordinate, mesh.shape, placements, strict=True):
            if isinstance(placement, Shard):
                dim = placement.dim
                chunk = -(-sizes[dim] // ranks)
                start = min(rank * chunk, sizes[dim])
                starts[dim] += start
                sizes[dim] = min(chunk, sizes[dim] - start)
        return cls(tuple(shape), tuple(starts), tuple(sizes))


def draw(
    operators: Operators,
    params: Sequence[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    *,
    generator: torch.Generator | None,
    key: Tensor | None,
    differentiable: bool,
) -> Any:
    """:func:`draws.draw.draw` for parameters of which at least one is a DTensor.

    Args:
        params: DTensors, and tensors of one element.
        shape, dtype: of the whole sample.

    Returns:
        A DTensor, or a tuple of them.

    Raises:
        NotImplementedError: under torch.compile, functorch's transforms or forward-mode differentiation; of a draw that
            has no parts.
        ValueError: parameters on different meshes, or with placements that would have to be communicated, or of rows
            that do not lie on one rank.
    """
    parts = operators.parts(params, shape)
    named = dict(zip(operators.parameters, params, strict=True))
    sharding = Sharding.of(named, shape)
    if operators.whole_rows:
        sharding.check_rows(named, shape)
    taken = sharding.take_key(key, generator, operators.blocks(params, shape, dtype))
    given, box, per_block = sharding.local_params, sharding.box, operators.per_block(dtype)

    def draw_part(key: Key, params: Sequence[Tensor], shape: Sequence[int]) -> tuple[Tensor, ...]:
        return as_tuple(operators.from_key(key, params, shape, dtype, differentiable))

    with torch.set_grad_enabled(differentiable and torch.is_grad_enabled()):
        if parts == "elements":
            part = draw_box(draw_part, taken, given, box, per_block, operators.group(dtype))
        elif parts == "rows":
            part = draw_box_of_rows(draw_part, taken, given, box, per_block)
        else:
            part = draw_box_by_inversion(draw_part, taken, given, box)
        outputs = tuple(sharding.whole(x, shape[: x.dim()]) for x in part)
    return outputs if len(outputs) > 1 else outputs[0]


@dataclass(frozen=True)
class Sharding:
    """How a sample lies on a mesh, and this rank's part of its parameters.

    Attributes:
        local_params: plain tensors that broadcast to the box.
    """

    mesh: DeviceMesh
    placements: tuple[Placement, ...]
    box: Box
    local_params: list[Tensor]

    @classmethod
    def of(cls, params: dict[str, Tensor], shape: Sequence[int]) -> Sharding:
        """The sharding of a sample of `shape`, from its parameters by their names in messages."""
        transformed = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
        if torch.compiler.is_compiling() or transformed:
            raise NotImplementedError(
                "draws with DTensor parameters are not implemented under torch.compile, torch.func and forward-mode AD"
            )
        mesh = next(p.device_mesh for p in params.values() if isinstance(p, DTensor))
        distributed = {name: _distributed(name, p, mesh) for name, p in params.items()}
        placements = sample_placements(distributed, shape)
        box = Box.of_rank(shape, mesh, placements)
        local_params = [_local(name, p, placements, len(shape)) for name, p in distributed.items()]
        return cls(mesh, placements, box, local_params)

    def check_rows(self, params: dict[str, Tensor], shape: Sequence[int]) -> None:
        """Raise a ValueError unless every row lies on one rank."""
        if Shard(len(shape) - 1) in self.placements:
            listed = ", ".join(f"{name} as {p.placements}" for name, p in params.items() if isinstance(p, DTensor))
            raise ValueError(f"the last dimension, along which rows lie, must not be sharded, but placed are {listed}")

    def take_key(self, key: Tensor | None, generator: torch.Generator | None, blocks: int) -> Key:
        """The key of the whole sample."""
        device = self.local_params[0].device
        return keys.take(key, keys.check_source(key, generator, device), device, blocks).key

    def whole(self, part: Tensor, shape: Sequence[int]) -> DTensor:
        """The tensor of `shape` of which `part` is this rank's."""
        stride = tuple(row_major_strides(shape))
        return DTensor.from_local(
            part, self.mesh, self.placements, run_check=False, shape=torch.Size(shape), stride=stride
        )


def sample_placements(params: dict[str, DTensor], shape: Sequence[int]) -> tuple[Placement, ...]:
    """The placements of a sample of `shape`: sharded where a parameter is, or an error that names the parameters."""
    placements: list[Placement] = []
    for i in range(next(iter(params.values())).device_mesh.ndim):
        sharded: dict[int, str] = {}
        for name, p in params.items():
            placement = p.placements[i]
            # Others than these two, subclasses included, are not known here.
            if type(placement) is Replicate:
                continue
            if type(placement) is not Shard:
                raise ValueError(
                    f"{name} is placed as {p.placements}; the parameters of a draw must be sharded or replicated, "
                    f"and {placement} is neither: redistribute {name} first"
                )
            dim = placement.dim + len(shape) - p.dim()
            if p.shape[placement.dim] != shape[dim]:
                raise ValueError(
                    f"{name} of shape {tuple(p.shape)} is sharded along dimension {placement.dim}, along which it "
                    f"broadcasts to a sample of shape {tuple(shape)}: replicate {name} first"
                )
            sharded[dim] = name
        if len(sharded) > 1:
            listed = ", ".join(f"{name} along {dim}" for dim, name in sharded.items())
            raise ValueError(
                f"parameters are sharded along different dimensions of the sample on mesh dimension {i}: {listed}; "
                "redistribute one of them first"
            )
        placements.append(Shard(*sharded) if sharded else Replicate())
    return tuple(placements)


def _distributed(name: str, param: Tensor, mesh: DeviceMesh) -> DTensor:
    if not isinstance(param, DTensor):
        if param.numel() != 1:
            raise ValueError(
                f"{name} is a plain tensor of shape {tuple(param.shape)} beside DTensors: make it one, or a number"
            )
        replicated = [Replicate()] * mesh.ndim
        return DTensor.from_local(param.reshape(()), mesh, replicated, run_check=False)
    if param.device_mesh != mesh:
        raise ValueError(f"{name} is on {param.device_mesh}, but another parameter is on {mesh}")
    return param


def _local(name: str, param: DTensor, placements: Sequence[Placement], dims: int) -> Tensor:
    """This rank's part of a parameter of a sample of `dims` dimensions that is placed as `placements`."""
    own, grad_placements = list(param.placements), list(param.placements)
    for i, placement in enumerate(placements):
        if isinstance(placement, Shard) and isinstance(own[i], Replicate):
            dim = placement.dim - dims + param.dim()
            if dim < 0 or param.shape[dim] == 1:
                grad_placements[i] = Partial()  # the shards of the sample share the parameter
                continue
            if Shard(dim) in own[i:]:
                raise ValueError(
                    f"{name} is placed as {tuple(own)} where the sample is {tuple(placements)}, on a mesh of which a "
                    f"later dimension cuts it first: redistribute {name} first"
                )
            own[i] = grad_placements[i] = Shard(dim)
    if own != list(param.placements):
        param = param.redistribute(placements=own)
    return param.to_local(grad_placements=grad_placements)


def draw_box(
    draw_part: DrawPart, key: Key, params: Sequence[Tensor], box: Box, per_block: int, group: int
) -> tuple[Tensor, ...]:
    """The part of a sample that lies in a box.

    Args:
        key: that of the whole sample.
        params: broadcast to the box.
        per_block: how many elements a Philox block feeds.
        group: of how many elements, a multiple of `per_block`, the runs of a window are made.
    """
    numel, strides = math.prod(box.shape), row_major_strides(box.shape)
    if 0 in box.sizes:
        return draw_part(windowed_key(key, numel), params, box.sizes)
    first = sum(start * stride for start, stride in zip(box.starts, strides, strict=True))
    # Runs are made of the innermost dimension that is cut, and of those within it.
    cut = max((d for d, size in enumerate(box.sizes) if size != box.shape[d]), default=0)
    outer, run = box.sizes[:cut], math.prod(box.sizes[cut:])
    single = math.prod(outer) == 1
    group = per_block if single else group
    # Runs this many apart begin at the same place within a group.
    periods = [group // math.gcd(stride, group) if n > 1 else 1 for n, stride in zip(outer, strides, strict=False)]
    if math.prod(periods) == 1 and first % group == 0 and (single or run % group == 0):
        moved = key.moved(first // per_block)
        return draw_part(windowed_key(moved, numel, () if single else strides), params, box.sizes)

    runs = [p if p.numel() == 1 else p.expand(box.sizes).reshape(*outer, run) for p in params]
    whole: tuple[Tensor, ...] | None = None
    for begin in itertools.product(*(range(min(n, period)) for n, period in zip(outer, periods, strict=True))):
        at = first + sum(b * stride for b, stride in zip(begin, strides, strict=False))
        lead = at % group
        tail = 0 if single else -(lead + run) % group
        rows = tuple(slice(b, None, period) for b, period in zip(begin, periods, strict=True))
        padded = [p if p.numel() == 1 else _padded(p[rows], lead, tail) for p in runs]
        sizes = [-(-(n - b) // period) for n, b, period in zip(outer, begin, periods, strict=True)]
        steps = () if single else (*(s * period for s, period in zip(strides, periods, strict=False)), 1)
        moved = windowed_key(key.moved((at - lead) // per_block), numel, steps)
        parts = [x[..., lead : lead + run] for x in draw_part(moved, padded, (*sizes, lead + run + tail))]
        if whole is None:
            whole = tuple(x.new_empty(*outer, run) for x in parts)
        for x, part in zip(whole, parts, strict=True):
            x[rows] = part
    assert whole is not None
    return tuple(x.view(box.sizes) for x in whole)


def draw_box_of_rows(
    draw_part: DrawPart, key: Key, params: Sequence[Tensor], box: Box, per_block: int
) -> tuple[Tensor, ...]:
    """The part of a draw over rows that lies in a box of whole rows; arguments are those of :func:`draw_box`."""
    numel, strides, k = math.prod(box.shape), row_major_strides(box.shape), box.shape[-1]
    if 0 in box.sizes:
        return draw_part(windowed_key(key, numel), params, box.sizes)
    cut = max((d for d, size in enumerate(box.sizes) if size != box.shape[d]), default=0)
    outer, inner = box.sizes[:cut], box.sizes[cut:-1]
    runs: list[tuple[Tensor, ...]] = []
    for index in itertools.product(*map(range, outer)):
        place = [start + i for start, i in itertools.zip_longest(box.starts, index, fillvalue=0)]
        row = sum(at * stride for at, stride in zip(place, strides, strict=True)) // k
        # Rows before the run's first, up to one that begins a block.
        lead = next(m for m in range(per_block) if (row - m) * k % per_block == 0)
        moved = windowed_key(key.moved((row - lead) * k // per_block), numel)
        if lead == 0 and len(outer) == 0:
            return draw_part(moved, params, box.sizes)
        given = [p if p.numel() == 1 else _rows_from(p.expand(box.sizes)[index], lead) for p in params]
        drawn = draw_part(moved, given, (lead + math.prod(inner), k))
        runs.append(tuple(x[lead:].reshape(*inner, *x.shape[1:]) for x in drawn))
    return tuple(torch.stack(xs).reshape(*outer, *xs[0].shape) for xs in zip(*runs, strict=True))


def draw_box_by_inversion(draw_part: DrawPart, key: Key, params: Sequence[Tensor], box: Box) -> tuple[Tensor, ...]:
    """The part of draws by inversion that lies in a box of whole rows; arguments are those of :func:`draw_box`.

    A draw takes half a block, and knows its number: any box is one draw.
    """
    strides = row_major_strides(box.shape[:-1])
    first = sum(start * stride for start, stride in zip(box.starts, strides, strict=False))
    moved = windowed_key(key.moved(first // 2), math.prod(box.shape), (first % 2, *strides))
    return draw_part(moved, params, box.sizes)


def _rows_from(param: Tensor, lead: int) -> Tensor:
    rows = param.reshape(-1, param.shape[-1])
    return torch.cat((rows[:1].detach().expand(lead, -1), rows))


def _padded(param: Tensor, lead: int, tail: int) -> Tensor:
    """Runs with valid values, which get no gradient, before and behind."""
    before = param[..., :1].detach().expand(*param.shape[:-1], lead)
    behind = param[..., -1:].detach().expand(*param.shape[:-1], tail)
    return torch.cat((before, param, behind), -1)
