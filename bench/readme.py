"""Write the generated parts of README.md: what is supported, one device's results, trainings, calls, and a GPU's.

python bench/readme.py [FRAGMENT] [--readme FILE] [--instructions FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import instructions
from markers import inserted
from support import measured, support_table

HERE = Path(__file__).resolve().parent
# What the names of train.py's, gpu/run.py's, calls.py's and programs.py's files end in, before the suffix.
MODELS, GPU, CALLS, PROGRAMS = "-models", "-gpu", "-calls", "-programs"


def newest(paths: Iterable[Path]) -> Path | None:
    return max(paths, key=lambda path: path.stat().st_mtime, default=None)


def newest_fragment() -> Path:
    found = newest(p for p in (HERE / "results").glob("*.md") if not p.stem.endswith((MODELS, GPU, CALLS, PROGRAMS)))
    if found is None:
        raise SystemExit("no results yet: run `make bench` first")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fragment", type=Path, nargs="?", help="default: the newest in bench/results")
    parser.add_argument("--readme", type=Path, default=HERE.parent / "README.md")
    parser.add_argument("--instructions", type=Path, default=HERE / "results" / instructions.NAME)
    options = parser.parse_args()
    fragment = options.fragment or newest_fragment()
    document = options.readme.read_text()
    document = inserted(
        document, "support", support_table(measured(options.instructions, fragment.with_suffix(".csv")))
    )
    document = inserted(document, "bench", fragment.read_text())
    models = fragment.with_stem(f"{fragment.stem}{MODELS}")
    if models.exists():
        document = inserted(document, "models", models.read_text())
    calls = sorted(fragment.parent.glob(f"*{CALLS}.md"), key=lambda path: "gpu" in path.stem)
    calls += sorted(fragment.parent.glob(f"*{PROGRAMS}.md"))
    if calls:
        document = inserted(document, "calls", "\n".join(path.read_text() for path in calls))
    if gpu := newest(fragment.parent.glob(f"*{GPU}.md")):
        document = inserted(document, "gpu", gpu.read_text())
    options.readme.write_text(document)
    print(f"{options.readme} shows {fragment}")


if __name__ == "__main__":
    main()
