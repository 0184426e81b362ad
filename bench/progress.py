"""How far long work has got: a bar on a terminal, and elsewhere, as in a log file, a line now and then."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

# Seconds between two lines.
EVERY = 5.0


class Progress:
    """Counts the steps of some work, as a context manager. Nothing is drawn between steps, which may be timed.

    Args:
        what: is being done.
        total: number of steps, where it is known.
        file: standard output by default.
    """

    def __init__(self, what: str, total: int | None = None, file: TextIO | None = None) -> None:
        self._file = file or sys.stdout
        self._what, self._total, self._done = what, total, 0
        self._begin = monotonic()
        self._last = -EVERY
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self._file.isatty():
            # Not above: `make gpu` runs where rich may not be installed.
            from rich import console, progress

            columns = (progress.BarColumn(), progress.MofNCompleteColumn(), progress.TimeElapsedColumn())
            terminal = console.Console(file=self._file)
            text = progress.TextColumn("{task.description}")
            self._bar = progress.Progress(*columns, text, console=terminal, auto_refresh=False)
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self._total)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.update(self._task, description=self._what, refresh=True)
            self._bar.stop()
        elif exception[0] is None:
            self._line(f"done in {monotonic() - self._begin:.0f} s")

    def expect(self, total: int) -> None:
        """Set the number of steps."""
        self._total = total
        if self._bar is not None:
            self._bar.update(self._task, total=total, refresh=True)

    def step(self, description: str) -> None:
        """Say what the next step is, of which `advance` is the end."""
        if self._bar is not None:
            self._bar.update(self._task, description=description, refresh=True)
        elif monotonic() - self._last >= EVERY:
            self._last = monotonic()
            of = "" if self._total is None else f" of {self._total}"
            self._line(f"{self._done + 1}{of}, after {self._last - self._begin:.0f} s: {description}")

    def advance(self) -> None:
        """A step is done."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, refresh=True)

    def _line(self, text: str) -> None:
        print(f"{self._what}: {text}", file=self._file, flush=True)


def tracked(what: str, items: Iterable[T], describe: Callable[[T], str], total: int | None = None) -> Iterator[T]:
    """The items, each of which is a step.

    Args:
        describe: names an item.
        total: how many there are, where `len` does not say.
    """
    with Progress(what, len(items) if total is None else total) as progress:
        for item in items:
            progress.step(describe(item))
            yield item
            progress.advance()
