"""The folder in which what is made at run time is kept for later processes."""

from __future__ import annotations

import os
from pathlib import Path


def folder() -> Path | None:
    """RSAMPLE_CACHE_DIR, or `rsample` in XDG_CACHE_HOME or ~/.cache; None for nobody's process, which has no home."""
    given = os.environ.get("RSAMPLE_CACHE_DIR")
    try:
        return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rsample"
    except RuntimeError:
        return None
