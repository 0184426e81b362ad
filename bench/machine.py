"""Names of the machine and the versions that a result belongs to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re

import torch

import rsample

# torch draws its random numbers in one thread: on more threads the ratios would grow with the number of cores.
THREADS = 2

_VECTORS = {"AVX512": "AVX-512", "AVX2": "AVX2"}


def describe(device: torch.device, cpu: str) -> dict[str, str | int]:
    """What identifies `device` and the software, as it stands in every row of the results.

    Args:
        cpu: the processor's name.
    """
    return {
        "device": _name(device, cpu),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "triton": _triton_version(),
        "rsample": rsample.__version__,
        "python": platform.python_version(),
    }


def load_average() -> float:
    """What programs have been doing for a minute, in cores; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def slug(device: str) -> str:
    """A file name for a device: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def _name(device: torch.device, cpu: str) -> str:
    if device.type != "cpu":
        return torch.get_device_module(device).get_device_name(device)
    vector = _VECTORS.get(torch.backends.cpu.get_cpu_capability())
    return f"{cpu}, {os.cpu_count()} cores" + (f", {vector}" if vector else "")


def _triton_version() -> str:
    try:
        return importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return "none"
