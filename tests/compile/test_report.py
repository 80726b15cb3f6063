"""The report is one page that says what was proven, hides no waiver and loads nothing."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from artifact.manifest import Waiver
from compile import histogram
from compile.jobs import Verdict
from compile.report import ReportInTheWay, check_place, render, write
from compile.report_plot import plot
from compile.request import CompiledArtifact
from compile.result import read_result, result_data
from compile.tally import Tally
from tests.compile.results import COUNTS, compiled_example
from tests.compile.world import compare_in, make_request, make_world, trace_in


def _waived() -> CompiledArtifact:
    compiled = compiled_example()
    failed = tuple(
        Verdict(
            gate=v.gate, bucket=v.bucket, passed=v.gate != "padding", compared=v.compared, why="off by 0.48"
        )
        for v in compiled.verdicts
    )
    waivers = (Waiver(gate="padding", reason="ConvBERT reads the padding; known since May"),)
    return dataclasses.replace(compiled, verdicts=failed, waivers=waivers)


class _Page(HTMLParser):
    """What a browser would make of the page: text, links to load, and whether tags nest."""

    _VOID = frozenset({"meta", "line", "rect", "br", "img", "link", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [f"{tag} {name}" for name, _ in attrs if name in {"src", "href", "srcset", "data"}]
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self._VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def test_the_page_says_what_was_compiled_and_what_was_proven() -> None:
    """Model, digest, every gate of every bucket, figures, padding, sizes, times, coverage, versions."""
    text = _Page(render(compiled_example())).text

    for words in (
        "pypi:example-model at 1.0",
        "bert for text-classification, target inf1, compiled in 140.0 s",
        "ab" * 32,
        "91.00 MB",
        "by more than 0.01",
        "Proven: every gate of every bucket passed",
        "1,200 compared",
        "8x128 logits",
        "largest 3e-06, mean 1e-07, least cosine 0.999998, 6,872 numbers",
        "25.0 % wasted",
        "80.5 % wasted",
        "20 texts, 600 tokens in 3,072 places",
        "2.50 MB",
        "77.5 s",
        "97.5 % of operators run on the device: 390 of 400",
        "aten::embedding",
        "1.13.1.2.11.13.0",
        "4.36.2",
        "accuracy on 40 examples: the untraced model 0.9250, the graphs 0.9000",
    ):
        assert words in text, words


def test_the_page_is_whole_and_loads_nothing() -> None:
    """No script, no link, no picture or font from anywhere; its own policy says so too."""
    page = render(_waived())
    parsed = _Page(page)

    assert parsed.tags.isdisjoint({"script", "link", "img", "iframe", "object", "base", "form"})
    assert parsed.loads == []
    assert not re.search(r"https?:|url\(|@import|@font-face", page)
    assert "default-src 'none'" in page


def test_a_waiver_is_the_first_thing_that_is_seen() -> None:
    """Above the gates, with its reason; the cells say so again, and the verdict is not "proven"."""
    page = render(_waived())
    text = _Page(page).text

    assert "Proven but for 1 waived gate(s)" in text
    assert "ConvBERT reads the padding; known since May" in text
    assert page.index("Waived: these gates did not pass") < page.index("<h2>Gates</h2>")
    assert page.count('<td class="waived">') == 2
    assert 'class="verdict proven"' not in page
    assert "Waived" not in _Page(render(compiled_example())).text


def test_figures_from_the_cache_are_called_so() -> None:
    """Nobody takes the time of a copy for that of a compile."""
    cached = dataclasses.replace(compiled_example(), cached=True)

    assert "taken from the cache in 140.0 s" in _Page(render(cached)).text
    assert "compiled in" not in _Page(render(cached)).text


def test_an_architecture_that_is_in_no_table_is_named_so() -> None:
    """Only then."""
    generic = dataclasses.replace(compiled_example(), support="generic")

    assert "in no table of ours" in _Page(render(generic)).text
    assert "in no table of ours" not in _Page(render(compiled_example())).text


def test_a_gate_that_failed_without_a_waiver_is_never_called_proven() -> None:
    """Whatever the file says that the page is drawn from."""
    page = render(dataclasses.replace(_waived(), waivers=()))

    assert 'class="verdict failed"' in page
    assert page.count('<td class="failed">') == 2


def test_a_gate_that_a_bucket_did_not_have_to_pass_is_not_shown_as_passed() -> None:
    """A bucket of one row has no neighbours to be compared with."""
    compiled = compiled_example()
    batch = Verdict(gate="batch", bucket="b8_s128", passed=True, compared=9, why="same")

    page = render(dataclasses.replace(compiled, verdicts=(*compiled.verdicts, batch)))

    assert page.count("does not apply") == 1


@given(st.text(alphabet="<>&\"' \n`=/aé\u202e", max_size=20))
def test_nothing_that_people_wrote_becomes_part_of_the_page(text: str) -> None:
    """A model's name, a reason, an output's name, a verdict: all are shown, none is obeyed."""
    hostile = f"{text}<script>alert(1)</script>"
    compiled = _waived()
    page = render(
        dataclasses.replace(
            compiled,
            about=dataclasses.replace(compiled.about, source=hostile, revision=hostile, architecture=hostile),
            waivers=(Waiver(gate="padding", reason=hostile),),
            parity=tuple(dataclasses.replace(figure, output=hostile) for figure in compiled.parity),
            verdicts=tuple(
                Verdict(gate=v.gate, bucket=v.bucket, passed=v.passed, compared=1, why=hostile)
                for v in compiled.verdicts
            ),
        )
    )

    assert "script" not in _Page(page).tags
    assert 'alert(1)</script>"' not in page


def test_the_page_can_be_drawn_again_from_what_json_printed() -> None:
    """To the last byte; the numbers survive JSON."""
    compiled = _waived()

    again = read_result(json.loads(json.dumps(result_data(compiled))), compiled.path)

    assert again == compiled
    assert render(again) == render(compiled)


def test_only_an_earlier_report_is_replaced(tmp_path: Path) -> None:
    """Not somebody's file, not a folder, not what a link leads to; all before any work."""
    mine, page = tmp_path / "notes.md", tmp_path / "new" / "report.html"
    mine.write_text("mine")
    (tmp_path / "link.html").symlink_to(mine)

    write(_waived(), page)
    write(compiled_example(), page)

    assert page.read_text(encoding="utf-8") == render(compiled_example())
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]
    for path in (mine, tmp_path, tmp_path / "link.html"):
        with pytest.raises(ReportInTheWay) as refused:
            check_place(path)
        assert refused.value.exit_code == 5
    assert mine.read_text() == "mine"


@given(st.lists(st.floats(min_value=0, max_value=1e6), max_size=60))
def test_every_difference_is_counted_once_and_in_its_place(differences: list[float]) -> None:
    """Zeros apart; too small in the first place above them, too large in the last."""
    counts = histogram.count(torch.tensor(differences, dtype=torch.float64))

    assert len(counts) == histogram.PLACES + 1
    assert sum(counts) == len(differences)
    assert counts[0] == sum(difference == 0 for difference in differences)
    edge = 10 ** (histogram.LOWEST + (histogram.PLACES - 1) / histogram.PER_DECADE)
    assert counts[-1] == sum(difference >= edge for difference in differences)


def test_a_tally_counts_over_all_batches() -> None:
    """As it counts everything else."""
    tally = Tally()

    tally.add(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.5]]))
    tally.add(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.5]]))

    place = 1 + math.floor((math.log10(0.5) - histogram.LOWEST) * histogram.PER_DECADE)
    assert (tally.histogram[0], tally.histogram[place], sum(tally.histogram)) == (2, 2, 4)


def test_differences_above_the_tolerance_are_of_another_colour() -> None:
    """The line and the colour agree."""
    drawn = plot(COUNTS, 1e-7, "differences")

    over = re.findall(r'<rect class="over" x="([0-9.]+)"', drawn)
    limit = float(re.findall(r'<line class="limit" x1="([0-9.]+)"', drawn)[0])
    within = re.findall(r'<rect class="within" x="([0-9.]+)"', drawn)
    assert over
    assert all(float(x) >= limit for x in over)
    assert all(float(x) < limit for x in within)


def test_an_output_that_nothing_was_counted_of_is_drawn_empty() -> None:
    """No division by nothing."""
    assert "<rect" not in plot((), 1e-5, "nothing")


def test_a_real_comparison_fills_the_histogram_and_the_buckets(tiny_bert: Path, tmp_path: Path) -> None:
    """As many differences as numbers compared; padding from the proof's own masks."""
    world = make_world(make_request(tiny_bert, tmp_path / "out", "1x16", "2x16"), tmp_path / "world")

    result = compare_in(world, trace_in(world))

    assert [sum(figure.histogram) for figure in result.figures] == [f.compared for f in result.figures]
    assert [filling.bucket for filling in result.fillings] == ["b1_s16", "b2_s16"]
    for filling, rows in zip(result.fillings, (1, 2)):
        assert filling.places % (16 * rows) == 0
        assert 0 < filling.tokens < filling.places
