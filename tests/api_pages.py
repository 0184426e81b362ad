"""Writes pages of all that is public, from its docstrings.

python tests/api_pages.py [FOLDER]
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def markdown(docstring: str) -> str:
    """A docstring with Sphinx's roles and example blocks as Markdown has them."""
    text = re.sub(r":math:`([^`]+)`", r"\\\\(\1\\\\)", docstring)
    text = re.sub(r":(?:class|meth|func|mod|data):`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return re.sub(r"(?m)^Example::\n\n((?:(?: {4}.*)?(?:\n|\Z))+)", _example, text)


def _example(found: re.Match[str]) -> str:
    return f"**Example**\n\n```python\n{textwrap.dedent(found[1]).strip()}\n```\n\n"


def main() -> None:
    # Not above: tests read this file without it.
    import pdoc

    import rsample.distributions
    import rsample.kernels

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "api"
    distributions = rsample.distributions
    # What is torch's has pages of its own.
    own = [name for name in distributions.__all__ if getattr(distributions, name).__module__.startswith("rsample.")]
    distributions.__all__ = own
    convert = pdoc.docstrings.convert
    pdoc.docstrings.convert = lambda text, *arguments: convert(markdown(text), *arguments)
    version = f"rsample {rsample.__version__}"
    pdoc.render.configure(docformat="google", math=True, show_source=False, footer_text=version)
    pdoc.pdoc("rsample.distributions", "rsample.kernels", "!rsample.kernels.", output_directory=folder)
    print(f"wrote {len(own)} names of rsample.distributions, and rsample.kernels: {folder / 'index.html'}")


if __name__ == "__main__":
    main()
