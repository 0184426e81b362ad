"""What every part is told and knows: where its results go, how much to do, on which device."""

from __future__ import annotations

import argparse
import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from machine import describe

from gpu.plan import FULL, REHEARSAL, Plan
from gpu.table import Table

DEVICE = torch.device("cuda", 0)


@dataclass(frozen=True)
class PartOptions:
    """`base` is the path of the results without what the names of the files end in."""

    base: Path
    rehearsing: bool

    @property
    def plan(self) -> Plan:
        return REHEARSAL if self.rehearsing else FULL

    def table(self, name: str, row_type: type) -> Table:
        """An empty table of this part's results."""
        return Table(results_file(self.base, name), row_type, facts())


def results_file(base: Path, name: str) -> Path:
    return base.with_name(f"{base.name}-{name}.csv")


def facts() -> dict[str, Any]:
    """The device and the versions that a row belongs to."""
    described = describe(DEVICE, cpu="")
    del described["threads"]  # of the CPU, which computes nothing here
    return {**described, "timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}


def part_options(description: str | None) -> PartOptions:
    """Those of the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    return PartOptions(options.base, options.rehearse)
