"""A pytest plugin: each test's outcome as a row of a CSV file as soon as it is known, and what goes first.

pytest -p gpu.outcomes --outcomes FILE

JUnit's XML is written at the end, so that a run that is cut off leaves none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gpu.part_options import facts
from gpu.table import Table


@dataclass(frozen=True)
class OutcomeRow:
    """`outcome` is "passed", "failed", "error" (outside of the test itself) or "skipped"; of others `error` names the
    exception's type, and `message` is its first line."""

    test: str
    outcome: str
    seconds: float
    error: str
    message: str


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes", type=Path, help="the CSV file to write")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # pytest-xdist's workers report to the process that started them
        config.pluginmanager.register(Outcomes(Table(config.getoption("outcomes"), OutcomeRow, facts())))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a GPU go first, then each function's first case, each one's second: a part says most of all."""
    seen: Counter[str] = Counter()
    place = {}
    for item in items:
        function = item.nodeid.partition("[")[0]
        place[item] = (item.get_closest_marker("cuda") is None, seen[function])
        seen[function] += 1
    items.sort(key=place.__getitem__)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None:
        # Reaches the controlling process with the report, which carries no exception.
        report.user_properties.append(("error", call.excinfo.type.__name__))
        report.user_properties.append(("message", str(call.excinfo.value).strip().partition("\n")[0][:300]))
    return report


class Outcomes:
    """Writes the reports down."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        outcome = "error" if report.failed and report.when != "call" else report.outcome
        properties = dict(report.user_properties)
        error, message = properties.get("error", ""), properties.get("message", "")
        if report.failed and not error:  # a worker that died: xdist makes the report
            error, message = "crash", str(report.longrepr).strip().partition("\n")[0][:300]
        self._table.add(OutcomeRow(report.nodeid, outcome, report.duration, error, message))
