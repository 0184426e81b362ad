"""Write what is generated of the pages: what is supported, one device's results, trainings, calls, a GPU's; a picture.

python bench/readme.py [FRAGMENT] [--root FOLDER] [--instructions FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import instructions
from markers import inserted
from summary import HOST_PICTURE, accelerated, draw_host_picture, draw_picture, summary
from support import measured, support_table

HERE = Path(__file__).resolve().parent
# What names end in, before the suffix: files of train.py, gpu/run.py, calls.py, programs.py, ten.py, sizes.py and
# compiled.py.
MODELS, GPU, CALLS, PROGRAMS, TEN, SIZES = "-models", "-gpu", "-calls", "-programs", "-ten", "-sizes"
COMPILED = "-compiled"
FUSED = "fused-examples.md"
# The pages, and their generated parts.
PAGES = {
    "README.md": ("accelerated", "summary"),
    "distributions/README.md": ("support",),
    "bench/README.md": ("ten", "sizes", "bench", "calls", "models", "compiled", "fused", "gpu"),
}


def newest(paths: Iterable[Path]) -> Path | None:
    return max(paths, key=lambda path: path.stat().st_mtime, default=None)


def newest_fragment() -> Path:
    others = (MODELS, GPU, CALLS, PROGRAMS, TEN, COMPILED, Path(FUSED).stem)
    found = newest(path for path in (HERE / "results").glob("*.md") if not path.stem.endswith(others))
    if found is None:
        raise SystemExit("no results yet: run `make bench-all` first")
    return found


def generated(fragment: Path, counts: Path) -> dict[str, str]:
    """The text of each part that there are results for.

    Args:
        fragment: the Markdown of a sweep; the other results lie beside it.
        counts: the file of instructions.
    """
    folder, sweep = fragment.parent, fragment.with_suffix(".csv")
    calls = sorted(folder.glob(f"*{CALLS}.md"), key=lambda path: "gpu" in path.stem)
    programs = sorted(folder.glob(f"*{PROGRAMS}.md"))
    texts = {
        "summary": summary(sweep, [path.with_suffix(".csv") for path in calls]),
        "support": support_table(measured(counts, sweep)),
        "bench": fragment.read_text(),
    }
    if programs:
        texts["accelerated"] = accelerated(path.with_suffix(".csv") for path in programs)
    if calls or programs:
        texts["calls"] = "\n".join(path.read_text() for path in (*calls, *programs))
    if any("gpu" in path.stem for path in calls):
        texts["calls"] += f"\n![microseconds of a GPU's host per small call](results/{Path(HOST_PICTURE).name})\n"
    if ten := newest(folder.glob(f"*{TEN}.md")):
        texts["ten"] = ten.read_text()
    if sizes := newest(folder.glob(f"*{SIZES}.png")):
        texts["sizes"] = f"![time per call against the size of the draw](results/{sizes.name})\n"
    models = fragment.with_stem(f"{fragment.stem}{MODELS}")
    if models.exists():
        texts["models"] = models.read_text()
    if compiled := newest(folder.glob(f"*{COMPILED}.md")):
        texts["compiled"] = compiled.read_text()
    if (fused := folder / FUSED).exists():
        texts["fused"] = fused.read_text()
    if gpu := newest(folder.glob(f"*{GPU}.md")):
        texts["gpu"] = gpu.read_text()
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fragment", type=Path, nargs="?", help="default: the newest in bench/results")
    parser.add_argument("--root", type=Path, default=HERE.parent, help="the folder that the pages are in")
    parser.add_argument("--instructions", type=Path, default=HERE / "results" / instructions.NAME)
    options = parser.parse_args()
    fragment = options.fragment or newest_fragment()
    texts = generated(fragment, options.instructions)
    documents = {}
    for name, parts in PAGES.items():
        document = (options.root / name).read_text(encoding="utf-8")
        for part in parts:
            if part in texts:
                document = inserted(document, part, texts[part])
        documents[name] = document
    # All or none of them.
    for name, document in documents.items():
        (options.root / name).write_text(document, encoding="utf-8")
    draw_picture(fragment.with_suffix(".csv"), options.root)
    draw_host_picture(fragment.parent.glob(f"*{CALLS}.csv"), options.root)
    print(f"{', '.join(PAGES)} show {fragment}")


if __name__ == "__main__":
    main()
