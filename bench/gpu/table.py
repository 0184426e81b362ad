"""A CSV file that grows row by row, so that a part that is cut off leaves behind what it has measured."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from results import cells


class Table:
    """Rows of one dataclass; the columns of `facts`, the same in every row, come last."""

    def __init__(self, path: Path, row_type: type, facts: Mapping[str, Any]) -> None:
        self._path, self._facts = path, facts
        self._names = [*(field.name for field in fields(row_type)), *facts]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            self._writer(file).writeheader()

    def add(self, row: Any) -> None:
        with self._path.open("a", newline="") as file:
            self._writer(file).writerow({**cells(row), **self._facts})

    def _writer(self, file: Any) -> csv.DictWriter:
        return csv.DictWriter(file, self._names, lineterminator="\n")


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a file as they stand there; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
