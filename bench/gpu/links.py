"""The package, found in a checkout that is not installed."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def link_packages(folder: Path) -> None:
    """Make `folder` a place that rsample can be imported from, as an installation would lay it out."""
    (folder / "rsample").mkdir()
    (folder / "rsample" / "__init__.py").symlink_to(ROOT / "distributions" / "top_level" / "__init__.py")
    for name in ("kernels", "distributions"):
        (folder / "rsample" / name).symlink_to(ROOT / name, target_is_directory=True)


def environment(folder: Path) -> dict[str, str]:
    """That of a process which imports rsample from `folder`, and the modules of bench.

    Inductor compiles in the process itself: parts have as many processes as there are cores, without its own.
    """
    path = [str(folder), str(ROOT / "bench"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
