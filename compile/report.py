"""What a compile proved, as one HTML page that needs nothing beside it.

Made from what ``--json`` prints (``result.py``), so a page can be drawn again later. No script,
no font, no picture from elsewhere; the page's own policy forbids them. Everything that comes
from a model or a user is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from artifact.errors import Conflict
from artifact.manifest import bucket_name
from compile.durable import write_whole
from compile.jobs import Filling, Verdict
from compile.report_plot import plot
from compile.request import BucketReport, CompiledArtifact, Figure

_START = "<!doctype html>\n<!-- traceship compile report -->\n"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class ReportInTheWay(Conflict):
    """The report's place holds something that is no report."""

    id = "report-in-the-way"

    def __init__(self, *, path: str) -> None:
        super().__init__(
            what=f"{path} is not a report of traceship",
            why="only an earlier report is replaced by a new one",
            fix="give another file, such as `--report report.html`",
        )


def check_place(path: Path) -> None:
    """Refuse, before any work, a place that holds anything but an earlier report.

    Raises:
        ReportInTheWay: a folder, or another file.
    """
    if not path.exists() and not path.is_symlink():
        return
    start = _START.encode()
    if not path.is_file() or path.is_symlink() or path.open("rb").read(len(start)) != start:
        raise ReportInTheWay(path=str(path))


def write(compiled: CompiledArtifact, path: Path) -> None:
    """Write the page to ``path``, whole or not at all.

    Raises:
        ReportInTheWay: see ``check_place``.
        OSError: the file system refuses.
    """
    check_place(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, render(compiled).encode())


def render(compiled: CompiledArtifact) -> str:
    """The page."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    body = [
        _head(compiled),
        _waivers(compiled),
        _gates(compiled),
        _differences(compiled),
        _metric(compiled),
        _buckets(compiled),
        _coverage(compiled),
        _versions(compiled),
    ]
    return (
        f'{_START}<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(compiled.about.source)}: compile report</title><style>{style}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _head(compiled: CompiledArtifact) -> str:
    about = compiled.about
    revision = f" at {escape(about.revision)}" if about.revision else ""
    state, words = _verdict(compiled)
    compared = sum(figure.compared for figure in compiled.parity)
    return (
        f"<header><h1>{escape(about.source)}{revision}</h1>"
        f'<p class="quiet">{escape(about.architecture)} for {escape(compiled.task)}, '
        f"target {escape(compiled.target)}, {_origin(compiled)}{_support(compiled)}</p>"
        f'<p class="verdict {state}">{words}</p>'
        f"<p>Tier {escape(about.tier)}: no number may differ from the untraced model by more than "
        f"{about.tolerance:g}. {compared:,} numbers were compared.</p>"
        f'<p>Digest <span class="digest">{escape(compiled.digest)}</span>, '
        f"{_megabytes(about.files_bytes)} in all.</p></header>"
    )


def _origin(compiled: CompiledArtifact) -> str:
    if compiled.cached:
        return (
            f"taken from the cache in {compiled.seconds:.1f} s; the figures are of the compile that made it"
        )
    return f"compiled in {compiled.seconds:.1f} s"


def _support(compiled: CompiledArtifact) -> str:
    told = "; its architecture is in no table of ours, the gates alone speak for it"
    return told if compiled.support == "generic" else ""


def _verdict(compiled: CompiledArtifact) -> tuple[str, str]:
    if any(_state(verdict, compiled) == "failed" for verdict in compiled.verdicts):
        return "failed", "Not proven"
    if compiled.waivers:
        return "waived", f"Proven but for {len(compiled.waivers)} waived gate(s)"
    return "proven", "Proven: every gate of every bucket passed"


def _waivers(compiled: CompiledArtifact) -> str:
    if not compiled.waivers:
        return ""
    items = "".join(
        f"<li><strong>{escape(waiver.gate)}</strong>: {escape(waiver.reason)}</li>"
        for waiver in compiled.waivers
    )
    return (
        '<section class="waivers" role="alert"><h2>Waived: these gates did not pass</h2>'
        "<p>Somebody accepted that, for the reason given. It is recorded in the manifest.</p>"
        f"<ul>{items}</ul></section>"
    )


def _gates(compiled: CompiledArtifact) -> str:
    names = list(dict.fromkeys(verdict.gate for verdict in compiled.verdicts))
    found = {(verdict.gate, verdict.bucket): verdict for verdict in compiled.verdicts}
    rows = [
        [f"<th>{escape(gate)}</th>"]
        + [_gate_cell(found.get((gate, _name(bucket))), compiled) for bucket in compiled.buckets]
        for gate in names
    ]
    head = ["<th>gate</th>", *(f"<th>{_spoken(bucket)}</th>" for bucket in compiled.buckets)]
    return _section("Gates", "What each bucket was asked, and what it answered.", _table(head, rows))


def _gate_cell(verdict: Verdict | None, compiled: CompiledArtifact) -> str:
    if verdict is None:
        return '<td class="quiet">does not apply</td>'
    state = _state(verdict, compiled)
    return (
        f'<td class="{state}">{state}<small>{escape(verdict.why)}</small>'
        f"<small>{verdict.compared:,} compared</small></td>"
    )


def _state(verdict: Verdict, compiled: CompiledArtifact) -> str:
    if verdict.passed:
        return "passed"
    return "waived" if verdict.gate in {waiver.gate for waiver in compiled.waivers} else "failed"


def _differences(compiled: CompiledArtifact) -> str:
    spoken = {_name(bucket): _spoken(bucket) for bucket in compiled.buckets}
    figures = "".join(
        _figure(figure, spoken.get(figure.bucket, figure.bucket), compiled.about.tolerance)
        for figure in compiled.parity
    )
    return _section(
        "Differences",
        "How many numbers of each output lie how far from the untraced model's; both axes are logarithmic.",
        f'<div class="plots">{figures}</div>',
    )


def _figure(figure: Figure, bucket: str, tolerance: float) -> str:
    cosine = "" if figure.min_cosine is None else f", least cosine {figure.min_cosine:.6f}"
    told = f"largest {figure.max_abs:.2g}, mean {figure.mean_abs:.2g}{cosine}, {figure.compared:,} numbers"
    title = f"{bucket} {figure.output}"
    return (
        f"<figure><figcaption>{escape(title)}<span>{told}</span></figcaption>"
        f"{plot(figure.histogram, tolerance, f'{title}: {told}')}</figure>"
    )


def _metric(compiled: CompiledArtifact) -> str:
    metric = compiled.metric
    if metric is None:
        return ""
    told = (
        f"{escape(metric.name)} on {metric.examples:,} examples: the untraced model {metric.reference:.4f}, "
        f"the graphs {metric.graph:.4f}."
    )
    return _section("Your labelled examples", "Share of right answers.", f"<p>{told}</p>")


def _buckets(compiled: CompiledArtifact) -> str:
    fillings = {filling.bucket: filling for filling in compiled.fillings}
    head = [
        "<th>bucket</th>",
        '<th class="number">graph file</th>',
        '<th class="number">time to trace</th>',
        "<th>padding on the proof's texts</th>",
    ]
    rows = [
        [
            f"<td>{_spoken(bucket)}</td>",
            f'<td class="number">{_megabytes(bucket.bytes)}</td>',
            f'<td class="number">{bucket.seconds:.1f} s</td>',
            _filling_cell(fillings.get(_name(bucket))),
        ]
        for bucket in compiled.buckets
    ]
    return _section(
        "Buckets",
        "The proof's texts are of every length on purpose; plan buckets from the lengths of your own.",
        _table(head, rows),
    )


def _filling_cell(filling: Filling | None) -> str:
    if filling is None:
        return '<td class="quiet">not measured</td>'
    full = 100 * filling.tokens / filling.places
    return (
        f"<td>{100 - full:.1f} % wasted"
        f"<small>{filling.texts:,} texts, {filling.tokens:,} tokens in {filling.places:,} places</small>"
        f'<div class="share"><span style="width:{full:.1f}%"></span></div></td>'
    )


def _coverage(compiled: CompiledArtifact) -> str:
    coverage = compiled.coverage
    if coverage is None:
        return ""
    fallback = ", ".join(f"<code>{escape(name)}</code>" for name in coverage.fallback) or "none"
    told = (
        f"{coverage.percent:g} % of operators run on the device: {coverage.compiled:,} of "
        f"{coverage.total:,}, in {coverage.partitions:,} partitions. On the CPU instead: {fallback}."
    )
    return _section("Coverage", "Of the bucket with the least.", f"<p>{told}</p>")


def _versions(compiled: CompiledArtifact) -> str:
    built = compiled.about.built_with
    named = {
        "torch": built.torch,
        "transformers": built.transformers,
        "tokenizers": built.tokenizers,
        "torch-neuron": built.torch_neuron,
        "neuron-cc": built.neuron_cc,
        "CPU": built.cpu,
    }
    rows = [[f"<th>{name}</th>", f"<td>{escape(value)}</td>"] for name, value in named.items() if value]
    return _section(
        "Built with", "The same versions on the same kind of CPU give the same bytes.", _table([], rows)
    )


def _section(title: str, told: str, content: str) -> str:
    return f'<section><h2>{title}</h2><p class="quiet">{told}</p>{content}</section>'


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(head)
    titles = f"<thead><tr>{top}</tr></thead>" if top else ""
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return f'<div class="scroll"><table>{titles}<tbody>{body}</tbody></table></div>'


def _name(bucket: BucketReport) -> str:
    return bucket_name(bucket.batch, bucket.length)


def _spoken(bucket: BucketReport) -> str:
    return f"{bucket.batch}x{bucket.length}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.2f} MB"
