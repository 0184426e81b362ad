"""The folder in which what is made at run time is kept for later processes."""

from __future__ import annotations

import functools
import os
import stat
import tempfile
import warnings
from pathlib import Path


def folder() -> Path | None:
    """RSAMPLE_CACHE_DIR, or `rsample` in XDG_CACHE_HOME or ~/.cache.

    None for a process without a home, and where everybody may write to the folder: what lies there is run.
    """
    given = os.environ.get("RSAMPLE_CACHE_DIR")
    try:
        path = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rsample"
    except RuntimeError:
        return None
    return None if _is_open_to_all(path) else path


def make(path: Path) -> None:
    """Make a folder that is `folder`, or lies in it, unless it is there."""
    path.mkdir(mode=0o755, parents=True, exist_ok=True)


def write(file: Path, content: bytes) -> None:
    """Write a file, which is whole as soon as it has its name: another process may look for it meanwhile."""
    make(file.parent)
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as new:
        new.write(content)
    os.replace(new.name, file)


@functools.cache
def _is_open_to_all(path: Path) -> bool:
    try:
        is_open = bool(path.stat().st_mode & stat.S_IWOTH) and os.name == "posix"
    except OSError:  # not made yet, or not to be seen
        return False
    if is_open:
        warnings.warn(
            f"rsample keeps nothing in {path}, as everybody may write to it: `chmod o-w {path}`. "
            "Every process compiles anew what it draws with",
            RuntimeWarning,
            stacklevel=3,
        )
    return is_open
