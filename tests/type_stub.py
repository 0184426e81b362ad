"""Writes distributions/__init__.pyi, in which type checkers find the classes that the package finds at run time.

python tests/type_stub.py
"""

from __future__ import annotations

from pathlib import Path

import rsample.distributions as dist

FILE = Path(__file__).resolve().parents[1] / "distributions" / "__init__.pyi"


def stub() -> str:
    lines = ["# Written by `make format`: do not edit.", "# ruff: noqa: I001"]
    for name in sorted(dist.__all__):
        module = getattr(dist, name).__module__
        own = module.startswith(f"{dist.__name__}.")
        source = module.removeprefix(dist.__name__) if own else "torch.distributions"
        lines.append(f"from {source} import {name} as {name}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(stub(), encoding="utf-8")
