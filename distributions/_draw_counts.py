"""How many draws of torch's classes were taken, how many were left to torch, and why."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch.distributions import Distribution

# Draws by torch's class, and the reason why they were left to torch: "" for those that were taken.
Counts = dict[tuple[str, str], int]


class Counter:
    """Counts calls of `add`, which is safe from any thread: one call into C, which costs 30 ns."""

    def __init__(self) -> None:
        self.add = itertools.count().__next__
        self._reads = 0
        self._lock = threading.Lock()

    def read(self) -> int:
        """The number of calls. Reading is a call too, and not counted."""
        with self._lock:
            self._reads += 1
            return self.add() - (self._reads - 1)


class DrawCounters:
    """A counter for each of torch's classes and each reason."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str], Counter] = {}

    def counter(self, drawn: str, reason: str = "") -> Counter:
        """That of the draws of torch's class of this name, which were left to torch for a reason, or taken."""
        found = self._counters.get((drawn, reason))
        return found or self._counters.setdefault((drawn, reason), Counter())

    def read(self) -> Counts:
        """All counts so far."""
        return {key: counter.read() for key, counter in list(self._counters.items())}


@dataclass(frozen=True)
class Report:
    """What `accelerate()` did; as text, for the reader of a terminal.

    Attributes:
        taken: how many draws were made here, by the name of torch's class.
        left: how many were left to torch, by the name of torch's class and the reason.
        own: methods of loaded subclasses of torch's classes that draw by themselves. Their draws are not seen, but
            for those of torch's classes that they make.
    """

    taken: dict[str, int]
    left: dict[tuple[str, str], int]
    own: tuple[str, ...]

    def __str__(self) -> str:
        lines = ["Draws of torch.distributions' classes under accelerate():"]
        lines += _table("taken", self.taken.items())
        lines += _table("left to torch", ((f"{drawn}: {reason}", n) for (drawn, reason), n in self.left.items()))
        if not self.taken:
            lines.append("  None was taken: this program gains nothing by accelerate().")
        if self.own:
            lines.append("Not seen, as these draw by methods of their own: " + ", ".join(self.own) + ".")
        lines.append("Never seen: torch.randn, torch.rand and the like, numpy, and what torch.compile has compiled.")
        return "\n".join(lines)


def _table(head: str, rows: Iterable[tuple[str, int]]) -> Iterator[str]:
    for name, n in sorted(rows, key=lambda row: (-row[1], row[0])):
        yield f"  {head:<13} {n:>9,}  {name}"
        head = ""


def report(before: Counts, after: Counts, replaced: Iterable[type[Distribution]]) -> Report:
    """What was counted between two readings.

    Args:
        replaced: torch's classes whose draws are replaced.
    """
    counts = {key: n - before.get(key, 0) for key, n in after.items() if n > before.get(key, 0)}
    return Report(
        {drawn: n for (drawn, reason), n in counts.items() if not reason},
        {key: n for key, n in counts.items() if key[1]},
        tuple(sorted(_own_methods(replaced))),
    )


def _own_methods(replaced: Iterable[type[Distribution]]) -> set[str]:
    found, classes = set(), list(replaced)
    for cls in classes:
        classes += [c for c in cls.__subclasses__() if c not in classes]
        if not cls.__module__.startswith(("torch.", f"{__name__.partition('.')[0]}.")):
            found |= {f"{cls.__module__}.{cls.__qualname__}.{n}" for n in ("sample", "rsample") if n in vars(cls)}
    return found
