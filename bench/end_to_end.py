"""Trains a model with both libraries in alternating slices, and measures what of it hangs on the library.

A whole step is timed and, apart from it, what `draw` does in a step: it makes the distribution and draws, forward and
backward, here from the parameters that it was given in training. What is not drawing is the same code in both, so that
a step gains about the share of drawing at most.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch
from models import sigmoid_belief_net, soft_actor_critic, vae
from pairing import interleaved
from timers import Timer, timer_for
from torch import Tensor

import rsample.distributions

# The reference first, as in cases.py.
LIBRARIES: dict[str, ModuleType] = {"torch": torch.distributions, "rsample": rsample.distributions}


@dataclass(frozen=True)
class Model:
    """One training.

    Attributes:
        module: its file, in which `draw` is the name of the function that draws.
        loss: what its losses are.
        options: arguments of the module's `train`, besides the library, the device and the seed.
    """

    name: str
    module: ModuleType
    loss: str
    draw: str = "draw"
    options: tuple[tuple[str, Any], ...] = ()

    def train(self, library: str, device: torch.device, seed: int = 0) -> Iterator[Tensor]:
        return self.module.train(LIBRARIES[library], device, seed, **dict(self.options))


MODELS = (
    Model("VAE", vae, "negative ELBO, nats"),
    Model("Sigmoid belief net, score function", sigmoid_belief_net, "negative ELBO, nats"),
    Model(
        "Sigmoid belief net, relaxed", sigmoid_belief_net, "negative ELBO, nats", "draw_relaxed", (("relaxed", True),)
    ),
    Model("Soft actor-critic", soft_actor_critic, "mean cost"),
)


@dataclass(frozen=True)
class Run:
    """What one library's training of one model came to.

    Attributes:
        losses: of each step.
        steps: seconds per step, in each slice; slice i of one library was beside slice i of the other.
        draws: seconds that drawing takes of a step, in rounds that alternate likewise.
        peak: the most bytes of tensors that a step holds at once, beyond what it begins with.
    """

    losses: list[float]
    steps: list[float]
    draws: list[float]
    peak: int


def measure(
    model: Model, device: torch.device, slices: int, length: int, budget: float, done: Callable[[], object]
) -> dict[str, Run]:
    """Train with both libraries from the same weights.

    Args:
        slices, length: how many slices a training has, and how many steps per slice.
        budget: seconds for timing the draws.
        done: called after each slice of either library.
    """
    timer = timer_for(device)
    # In trainings of their own: the profiler and the first step, which may compile, stay out of the timed one.
    probes = {library: model.train(library, device) for library in LIBRARIES}
    for losses in probes.values():
        next(losses)
    peaks = {library: peak_bytes(partial(next, losses), device) for library, losses in probes.items()}
    draws = interleaved({library: drawing(model, losses) for library, losses in probes.items()}, timer, budget)

    trainings = {library: Training(model.train(library, device), device) for library in LIBRARIES}
    for _ in range(slices):
        for training in trainings.values():
            training.advance(length, timer)
            done()
    return {
        library: Run(torch.stack(training.losses).tolist(), training.seconds, draws[library], peaks[library])
        for library, training in trainings.items()
    }


class Training:
    """A training in slices, with the draws it would have alone: between them the generators' states are put away."""

    def __init__(self, steps: Iterator[Tensor], device: torch.device) -> None:
        self._steps, self._device = steps, device
        self._states = [generator.get_state() for generator in self._generators()]
        self.losses: list[Tensor] = []
        self.seconds: list[float] = []

    def advance(self, steps: int, timer: Timer) -> None:
        for generator, state in zip(self._generators(), self._states, strict=True):
            generator.set_state(state)
        self.seconds.append(timer.seconds(lambda: self.losses.append(next(self._steps)), steps))
        self._states = [generator.get_state() for generator in self._generators()]

    def _generators(self) -> list[torch.Generator]:
        generators = [torch.default_generator]
        if self._device.type == "cuda":
            torch.cuda.init()
            generators.append(torch.cuda.default_generators[self._device.index or 0])
        return generators


def drawing(model: Model, steps: Iterator[Tensor]) -> Callable[[], object]:
    """What a step does to draw, forward and backward, as a function of its own; takes a step to see it."""
    draw = getattr(model.module, model.draw)
    calls: list[tuple[bool, tuple[Any, ...]]] = []

    def recorded(*arguments: Any) -> Any:
        kept = (x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in arguments)
        calls.append((torch.is_grad_enabled(), tuple(kept)))
        return draw(*arguments)

    with mock.patch.object(model.module, model.draw, recorded):
        next(steps)

    # Any dense numbers: the first sample of a shape.
    gradients: dict[torch.Size, Tensor] = {}

    def run() -> None:
        for differentiable, arguments in calls:
            with torch.set_grad_enabled(differentiable):
                drawn = draw(*arguments)
            outputs = [x for x in (drawn if isinstance(drawn, tuple) else (drawn,)) if x.requires_grad]
            if outputs:
                parameters = [x for x in arguments if isinstance(x, Tensor)]
                torch.autograd.grad(outputs, parameters, [gradients.setdefault(x.shape, x.detach()) for x in outputs])

    return run


def peak_bytes(step: Callable[[], object], device: torch.device) -> int:
    """The most bytes of tensors that `step` holds at once, beyond what there is before it.

    By the allocator's own count on a GPU, and by the profiler's record of every allocation on the CPU.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler tells of the GPU it has not found
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = [e for e in json.loads(path.read_text())["traceEvents"] if e["name"] == "[memory]"]
    # Allocations are positive, releases negative.
    changes = [event["args"]["Bytes"] for event in sorted(events, key=lambda event: event["ts"])]
    return int(np.cumsum(changes).max())
