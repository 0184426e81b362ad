"""What a bug report needs to know of this machine.

    python -m rsample.kernels.info

Nothing is built or kept for it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import torch

from .draws import native_core
from .engines.cpu import compiler, cpp
from .engines.triton import launch
from .runtime.backend import CPU, TRITON_DEVICES, backend_for, forced
from .runtime.language import HAS_TRITON, triton


def info() -> dict[str, str]:
    """What there is to say, by what it is about."""
    root = importlib.import_module("rsample")
    return {
        "rsample": f"{root.__version__}, in {Path(str(root.__file__)).parent}",
        "torch": torch.__version__,
        "triton": triton.__version__ if HAS_TRITON else "not installed",
        "python": f"{platform.python_version()}, {platform.platform()}",
        "compiler": _compiler(),
        **{f"device {device}": f"{_backend(device)}; {_name(device)}" for device in _devices()},
        "launches": _launches(),
        "native core": _core(),
        **{f"cache of {name}": _size(folder) for name, folder in _caches()},
    }


def _compiler() -> str:
    try:
        command = compiler.found()
    except FileNotFoundError as error:
        return f"none: {error}"
    caller = "rsample" if compiler.vectors() is not None else "Inductor"
    try:
        told = subprocess.run([*command, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    except OSError as error:
        told = str(error)
    return f"{' '.join(command)}, called by {caller}; {told.partition(chr(10))[0]}"


def _devices() -> Iterator[torch.device]:
    yield CPU
    for kind in TRITON_DEVICES:
        module = getattr(torch, kind)
        if module.is_available():
            yield from (torch.device(kind, index) for index in range(module.device_count()))


def _name(device: torch.device) -> str:
    if device == CPU:
        vectors = torch.backends.cpu.get_cpu_capability()
        return f"{platform.machine()}, {vectors}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    module = getattr(torch, device.type)
    name = module.get_device_name(device)
    if device.type != "cuda":
        return str(name)
    major, minor = module.get_device_capability(device)
    return f"{name}, capability {major}.{minor}, CUDA {torch.version.cuda}, HIP {torch.version.hip}"


def _backend(device: torch.device) -> str:
    try:
        name = backend_for(device, 1, ())
    except RuntimeError as error:  # the one that is asked for does not run here
        return f"none: {error}"
    if forced() is not None:
        return f"{name}, as RSAMPLE_BACKEND or use_backend asks"
    if name == "compiled":
        try:
            compiler.found()
        except FileNotFoundError:
            return "reference, except for what has been compiled before"
    return name


def _launches() -> str:
    """Which configurations kernels are launched in: no GPU has a table of its own."""
    timed = f"from {launch.TUNED_NUMEL} numbers on the fastest of {len(launch.CONFIGS)}, timed in each process"
    return f"one configuration on every GPU; {timed}"


def _core() -> str:
    kept = native_core.place()
    if kept is None:
        return "none: there is no folder to keep it in"
    if cpp.whole(kept) is not None:
        return "built"
    failed = native_core.failure(kept)
    return f"none: its C++ did not compile, see {failed}" if failed.exists() else "not built yet"


def _caches() -> Iterator[tuple[str, Path | None]]:
    kept = cpp.place("")
    yield "rsample", kept and kept.parent
    if HAS_TRITON:
        yield "triton", Path(triton.knobs.cache.dir)
    # Where Inductor calls the compiler, and for torch.compile.
    given = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if not given:
        given = importlib.import_module("torch._inductor.runtime.cache_dir_utils").default_cache_dir()
    yield "inductor", Path(str(given))


def _size(folder: Path | None) -> str:
    if folder is None or not folder.is_dir():
        return f"{folder or 'none'}, not there"
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f"{folder}, {len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB"


def main() -> None:
    argparse.ArgumentParser(
        prog="python -m rsample.kernels.info", description="Prints what a bug report needs to know of this machine."
    ).parse_args()
    told = info()
    width = max(map(len, told))
    for name, value in told.items():
        print(f"{name:{width}}  {value}")


if __name__ == "__main__":
    main()
