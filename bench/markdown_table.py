"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def pipe_table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of a table whose first `left` columns are aligned to the left, the others to the right."""
    marks = ["---"] * left + ["---:"] * (len(head) - left)
    return [f"| {' | '.join(cells)} |" for cells in (head, marks, *rows)]
