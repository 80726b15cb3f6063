"""docs/host.md names every line, event, metric and family of a host, and nothing else."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from inference_code.host import faults
from inference_code.host.cloudwatch import UNITS
from inference_code.host.faults import HostFault, ReplacementRefused, ReplacementUnknown
from inference_code.host.figures import Figures
from inference_code.host.prometheus import Page
from inference_code.host.reports import ReportUnreadable, parse_report
from inference_code.host.watch import MonitorEnded
from tests.host.monitor import line
from tests.kit.command import CHECKOUT

PAGE = (CHECKOUT / "docs/host.md").read_text(encoding="utf-8")
SCRIPT = (CHECKOUT / "infra/data/traceship-host.sh").read_text(encoding="utf-8")


def _rows(heading: str) -> list[list[str]]:
    """Cells of the first table under ``heading``, without its head."""
    part = PAGE.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]
    lines = [row for row in part.splitlines() if row.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in lines[2:]]


def test_every_line_of_the_script_is_in_the_table() -> None:
    """By its beginning; and each row of the table is the beginning of a line."""
    quoted = re.findall(r"""(?:\bsay|\btell) (?:"([^"]+)"|'([^']+)')""", SCRIPT)
    texts = [double or single for double, single in quoted]
    told = [row[0].strip("`").replace("failed N of", "failed $failures of") for row in _rows("Lines of")]
    own = [text for text in texts if not text.startswith(("usage:", "$*"))]

    assert len(own) > 10
    assert [text for text in own if not any(_begins(text, row) for row in told)] == []
    assert [row for row in told if not any(_begins(text, row) for text in own)] == []


def _begins(text: str, row: str) -> bool:
    return text.replace("$MOST_FAILURES", "3").startswith(row)


def test_every_error_of_the_watch_is_in_the_table() -> None:
    """And says whether the instance is replaced for it."""
    kinds = [kind for kind in vars(faults).values() if isinstance(kind, type) and issubclass(kind, HostFault)]
    fatal = {kind.id for kind in kinds} - {HostFault.id}
    others = {kind.id for kind in (ReplacementRefused, ReplacementUnknown, ReportUnreadable, MonitorEnded)}
    told = {row[0].strip("`"): row[2] for row in _rows("Events of the watch")}

    assert {name for name in told if " " not in name} == fatal | others
    assert {name for name, replaced in told.items() if replaced == "yes"} == fatal
    source = (CHECKOUT / "inference_code/host/watch.py").read_text() + (
        CHECKOUT / "inference_code/host/command.py"
    ).read_text()
    assert all(f'"{name}"' in source for name in told if " " in name)


def test_every_metric_is_in_its_table() -> None:
    """With its unit."""
    assert {row[0].strip("`"): row[1] for row in _rows("CloudWatch")} == UNITS


def test_every_family_is_in_its_table() -> None:
    """With its kind and its labels."""
    figures = Figures()
    figures.add(parse_report(line()))
    page = Page(figures, service="a", digest="b").text().decode()
    found = {}
    for family in text_string_to_metric_families(page):
        if family.name.endswith("_created"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels}
        found[name] = (family.type, labels)

    told = {row[0].strip("`"): (row[1], set(re.findall(r"`(\w+)`", row[2]))) for row in _rows("Prometheus")}
    assert told == found
