"""Lines of the log: one event, one line, and nobody waits for who reads them."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.serving import ENV_INSTANCE, ENV_LOG
from inference_code import log
from inference_code.identity import ATTRIBUTES, INFERENCE_ID, REQUEST_ID, identity_of
from inference_code.log import (
    JsonLines,
    LineHandler,
    LogOptionInvalid,
    RequestLog,
    instance_in,
    one_in,
)
from inference_code.log_writer import LineWriter
from inference_code.option_values import OptionInvalid
from inference_code.recorder import Recorder
from inference_code.trail import Trail

PIPE_BYTES = 4096


class Pipe:
    """A real pipe of the smallest size, with a writer on it; read when the test says so."""

    def __init__(self, max_waiting: int = 10_000) -> None:
        self.reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.writer = LineWriter(self.writing, log._notice, max_waiting=max_waiting)

    def fill(self) -> None:
        """Leave no room in it, as a reader who stalls does."""
        os.write(self.writing, b"." * (PIPE_BYTES - 1) + b"\n")

    def lines(self) -> list[bytes]:
        """Everything that is written until the writer is closed, without what ``fill`` wrote."""
        found: list[bytes] = []

        def read() -> None:
            with os.fdopen(self.reading, "rb", closefd=False) as file:
                found.extend(line for line in file if not line.startswith(b"."))

        reader = threading.Thread(target=read)
        reader.start()
        self.writer.close(10)
        os.close(self.writing)
        reader.join(10)
        assert not reader.is_alive()
        return found


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.reading)


def test_lines_come_out_in_order(pipe: Pipe) -> None:
    """More of them than a pipe holds."""
    sent = [b"%d %s\n" % (at, b"x" * (at % 90)) for at in range(100)]
    for line in sent:
        pipe.writer.put(line)

    assert pipe.lines() == sent
    assert pipe.writer.dropped == 0


def test_a_full_pipe_keeps_nobody_waiting(pipe: Pipe) -> None:
    """What fits is written when the reader comes back, the rest is counted, and told."""
    pipe.fill()
    done = threading.Event()

    def put() -> None:
        for at in range(1000):
            pipe.writer.put(b"%04d %s\n" % (at, b"x" * 94))
        done.set()

    threading.Thread(target=put, daemon=True).start()
    assert done.wait(10)
    dropped = pipe.writer.dropped
    found = pipe.lines()

    assert dropped > 0
    notices = [json.loads(line) for line in found if line.startswith(b"{")]
    assert [(line["event"], line["count"]) for line in notices] == [("log lines dropped", dropped)]
    numbers = [int(line[:4]) for line in found if not line.startswith(b"{")]
    assert len(numbers) + dropped == 1000
    assert numbers == sorted(set(numbers))


def test_closing_gives_up_on_a_reader_who_stalls(pipe: Pipe) -> None:
    """The end of the process does not depend on who reads its log."""
    pipe.fill()
    pipe.writer.put(b"never read\n")
    done = threading.Event()

    def close() -> None:
        pipe.writer.close(0.1)
        done.set()

    threading.Thread(target=close, daemon=True).start()

    assert done.wait(10)
    # Before the number of its file is another test's: the thread writes on as soon as it can.
    os.read(pipe.reading, PIPE_BYTES)
    pipe.writer.close(10)
    os.close(pipe.writing)


def test_a_reader_who_is_gone_costs_lines_and_nothing_else() -> None:
    """EPIPE ends neither the writer's thread nor who logs."""
    pipe = Pipe()
    os.close(pipe.reading)
    for _ in range(3):
        pipe.writer.put(b"one\n")
    pipe.writer.close(10)

    assert pipe.writer.dropped == 3
    os.close(pipe.writing)


def test_lines_of_two_processes_do_not_cut_each_other() -> None:
    """Each write is whole lines of at most what a pipe takes at once."""
    pipe = Pipe(max_waiting=1_000_000)
    second = LineWriter(os.dup(pipe.writing), log._notice)
    for at in range(400):
        pipe.writer.put(b"a%03d%s\n" % (at, b"a" * 300))
        second.put(b"b%03d%s\n" % (at, b"b" * 300))
    closing = threading.Thread(target=lambda: (second.close(10), os.close(second._fd)))
    closing.start()
    found = pipe.lines()
    closing.join(10)

    assert len(found) == 800
    assert all(re.fullmatch(rb"(a\d{3}a{300}|b\d{3}b{300})\n", line) for line in found)
    os.close(pipe.reading)


def _logged(pipe: Pipe) -> list[dict[str, Any]]:
    return [json.loads(line) for line in pipe.lines()]


@given(st.binary(max_size=60), st.text(max_size=60), st.binary(max_size=60))
def test_nothing_that_is_sent_can_make_a_line(
    request_id: bytes, attributes: str, inference_id: bytes
) -> None:
    """One request, one line, whatever its headers hold; the line's own keys stay its own."""
    pipe = Pipe()
    recorder = Recorder(RequestLog(pipe.writer))
    sent = [
        (REQUEST_ID, request_id),
        (ATTRIBUTES, attributes.encode("utf-8", "replace")),
        (INFERENCE_ID, inference_id),
    ]
    recorder.request(None, identity_of(sent), Trail(), method="GET", route="other", status=404)
    (line,) = _logged(pipe)

    assert (line["event"], line["level"], line["status"]) == ("request", "info", 404)
    assert json.dumps(line).isascii()
    os.close(pipe.reading)


def test_a_line_of_logging_is_a_line(pipe: Pipe) -> None:
    """A trace has line feeds, its line has none."""
    logger = logging.Logger("alone")
    logger.addHandler(LineHandler(pipe.writer))
    try:
        raise ValueError("first\nsecond\x1b[31m")
    except ValueError:
        logger.exception("fell\nover", extra={"path": "a\nb"})
    (line,) = _logged(pipe)

    assert line["event"] == "fell\nover"
    assert line["path"] == "a\nb"
    assert "ValueError: first\nsecond\x1b[31m" in line["trace"]


def test_a_value_that_json_does_not_know_is_written_as_text() -> None:
    """A path, for one."""
    record = logging.makeLogRecord({"msg": "x", "levelname": "INFO", "thing": {1, 2}})

    assert json.loads(JsonLines().format(record))["thing"] == "{1, 2}"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where this process's lines come from, for one test."""
    origin = {"instance": "i-0123456789abcdef0", "release": "0123456789ab"}
    monkeypatch.setattr(log, "_origin", {})
    log.come_from(instance=origin["instance"])
    log.come_from(digest="0123456789ab" + "c" * 52)
    return origin


def test_every_kind_of_line_says_where_it_comes_from(pipe: Pipe, here: dict[str, str]) -> None:
    """After what happened and before its details; what an event says itself counts."""
    logger = logging.Logger("alone")
    logger.addHandler(LineHandler(pipe.writer))
    logger.info("one")
    logger.info("two", extra={"release": "another"})
    RequestLog(pipe.writer).write(1.0, {"id": "x"})
    RequestLog(pipe.writer).write(1.0, {"id": "x", "release": "of its model"})
    pipe.writer.put(log._notice(3))
    lines = _logged(pipe)

    assert {line["instance"] for line in lines} == {here["instance"]}
    releases = [line["release"] for line in lines]
    assert releases == [here["release"], "another", here["release"], "of its model", here["release"]]
    assert list(lines[2]) == ["time", "level", "event", "instance", "release", "id"]


@pytest.mark.parametrize("value", [None, "", "i-0123456789abcdef0", "rack-7/4", "a" * 128])
def test_an_instance_has_the_name_that_it_is_given(value: str | None) -> None:
    """Or none: an endpoint's instances have none that a container could know."""
    assert instance_in({} if value is None else {ENV_INSTANCE: value}) == (value or None)


@given(st.text(min_size=1).filter(lambda text: re.fullmatch(r"[\w.:/-]{1,128}", text, re.ASCII) is None))
def test_what_is_no_name_is_refused(value: str) -> None:
    """By name."""
    with pytest.raises(OptionInvalid, match=ENV_INSTANCE):
        instance_in({ENV_INSTANCE: value})


@pytest.mark.parametrize(
    ("value", "every"),
    [(None, 1), ("", 1), ("all", 1), ("errors", 0), ("1/2", 2), ("1/1000000", 1_000_000)],
)
def test_the_log_can_be_thinned(value: str | None, every: int) -> None:
    """By the environment."""
    assert one_in({} if value is None else {ENV_LOG: value}) == every


@pytest.mark.parametrize(
    "value", ["none", "ALL", "1", "0", "1/1", "1/0", "1/-2", "1/1000001", "2/3", "1/²", "1/1.5"]
)
def test_another_word_is_refused(value: str) -> None:
    """By name."""
    with pytest.raises(LogOptionInvalid) as refused:
        one_in({ENV_LOG: value})

    assert refused.value.exit_code == 2
    assert ENV_LOG in refused.value.what


@pytest.mark.parametrize(("every", "wanted"), [(1, 6), (0, 0), (3, 2)])
def test_errors_always_have_a_line_and_the_rest_its_share(pipe: Pipe, every: int, wanted: int) -> None:
    """However thin the log is."""
    requests = RequestLog(pipe.writer, one_in=every)

    assert sum(requests.wants(200) for _ in range(6)) == wanted
    assert all(requests.wants(status) for status in (400, 404, 429, 500, 503))
    assert pipe.lines() == []
