"""Put the Markdown fragment of one device's results between the markers in README.md.

python bench/readme.py [FRAGMENT] [--readme FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from markdown import inserted

HERE = Path(__file__).resolve().parent


def newest_fragment() -> Path:
    found = sorted((HERE / "results").glob("*.md"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit("no results yet: run `make bench` first")
    return found[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fragment", type=Path, nargs="?", help="default: the newest in bench/results")
    parser.add_argument("--readme", type=Path, default=HERE.parent / "README.md")
    options = parser.parse_args()
    fragment = options.fragment or newest_fragment()
    options.readme.write_text(inserted(options.readme.read_text(), fragment.read_text()))
    print(f"{options.readme} shows {fragment}")


if __name__ == "__main__":
    main()
