"""A text that is rewritten step by step, and knows of each character where it came from.

Every method gives the text that Python's own ``re.sub``, ``str.lower`` or ``unicodedata.normalize``
gives, so what is exact there is exact here. Origins never run backwards: the text of any run of
characters lies between the first one's start and the last one's end.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

_GROUP = re.compile(r"\\(?:g<(\d+)>|(\d))")


@dataclass(frozen=True)
class Template:
    """What ``re.sub`` puts in a match's place: literal text, and groups by number."""

    parts: tuple[str | int, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        r"""Read ``\1`` and ``\g<1>``; nothing else is special."""
        parts: list[str | int] = []
        at = 0
        for match in _GROUP.finditer(text):
            parts += [text[at : match.start()], int(match[1] or match[2])]
            at = match.end()
        return cls(tuple(part for part in (*parts, text[at:]) if part != ""))


@dataclass(frozen=True)
class Aligned:
    """``text``, and the first and last-plus-one character of the original for each of its own."""

    text: str
    starts: list[int]
    ends: list[int]

    @classmethod
    def of(cls, text: str) -> Aligned:
        """An original."""
        return cls(text, list(range(len(text))), list(range(1, len(text) + 1)))

    @classmethod
    def joined(cls, parts: Iterable[Aligned]) -> Aligned:
        """One after the other."""
        texts = list(parts)
        return cls(
            "".join(part.text for part in texts),
            [start for part in texts for start in part.starts],
            [end for part in texts for end in part.ends],
        )

    def span(self, first: int, end: int) -> tuple[int, int]:
        """Where the characters ``first`` to ``end`` - 1 came from."""
        return self.starts[first], self.ends[end - 1]

    def cut(self, first: int, end: int) -> Aligned:
        """The characters ``first`` to ``end`` - 1."""
        return Aligned(self.text[first:end], self.starts[first:end], self.ends[first:end])

    def strip(self) -> Aligned:
        """Without white space around it."""
        size = len(self.text.strip())
        if size == len(self.text):
            return self
        first = len(self.text) - len(self.text.lstrip())
        return self.cut(first, first + size)

    def sub(self, pattern: re.Pattern[str], template: Template) -> Aligned:
        """As ``re.sub``. What replaces text that is in no group comes from all of that text."""
        return self.rewritten(
            pattern, lambda match: None if template.parts == (match[0],) else _pieces(match, template)
        )

    def rewritten(
        self, pattern: re.Pattern[str], pieces: Callable[[re.Match[str]], list[Piece] | None]
    ) -> Aligned:
        """Every match replaced by its ``pieces``; ``None`` leaves it as it is."""
        texts: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        at, changed = 0, False
        for match in pattern.finditer(self.text):
            replacing = pieces(match)
            if replacing is None:
                continue
            changed = True
            texts.append(self.text[at : match.start()])
            starts += self.starts[at : match.start()]
            ends += self.ends[at : match.start()]
            at = match.end()
            new_starts: list[int] = []
            new_ends: list[int] = []
            for piece in replacing:
                if piece.text is None:
                    texts.append(self.text[piece.first : piece.end])
                    new_starts += self.starts[piece.first : piece.end]
                    new_ends += self.ends[piece.first : piece.end]
                else:
                    texts.append(piece.text)
                    start, end = self._gap(piece.first, piece.end)
                    new_starts += [start] * len(piece.text)
                    new_ends += [end] * len(piece.text)
            starts += list(accumulate(reversed(new_starts), min))[::-1]
            # what is put between two characters that came from one place must not end before the first
            ends += accumulate([max([end, *ends[-1:]]) for end in new_ends], max)
        if not changed:
            return self
        texts.append(self.text[at:])
        return Aligned("".join(texts), starts + self.starts[at:], ends + self.ends[at:])

    def _gap(self, first: int, end: int) -> tuple[int, int]:
        if first < end:
            return self.span(first, end)
        place = self.starts[first] if first < len(self.starts) else (self.ends or [0])[-1]
        return place, place

    def each(self, change: Callable[[str], str], whole: Callable[[str], str] | None = None) -> Aligned:
        """Every character changed by itself.

        Args:
            whole: does the same to a text, and may choose or order characters by their neighbours,
                as ``str.lower`` writes a final sigma.
        """
        text = "".join(map(change, self.text)) if whole is None else whole(self.text)
        if len(text) == len(self.text):
            return Aligned(text, self.starts, self.ends)
        parts = [change(character) for character in self.text]
        return Aligned(
            text,
            [start for start, part in zip(self.starts, parts) for _ in part],
            [end for end, part in zip(self.ends, parts) for _ in part],
        )

    def composed(self) -> Aligned:
        """In NFC."""
        if unicodedata.is_normalized("NFC", self.text):
            return self
        texts: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        for first, end in _clusters(self.text):
            before, text = self.text[first:end], unicodedata.normalize("NFC", self.text[first:end])
            texts.append(text)
            if text == before:
                starts += self.starts[first:end]
                ends += self.ends[first:end]
            else:
                starts += [self.starts[first]] * len(text)
                ends += [self.ends[end - 1]] * len(text)
        return Aligned("".join(texts), starts, ends)


class Piece(NamedTuple):
    """A part of what replaces a match: characters ``first`` to ``end`` - 1, or ``text`` for them."""

    first: int
    end: int
    text: str | None = None


def _pieces(match: re.Match[str], template: Template) -> list[Piece]:
    pieces = []
    parts = template.parts
    at = match.start()
    for number, part in enumerate(parts):
        if isinstance(part, int):
            if match.start(part) >= 0:
                pieces.append(Piece(match.start(part), match.end(part)))
                at = match.end(part)
            continue
        following = parts[number + 1] if number + 1 < len(parts) else None
        end = match.end() if following is None else match.start(int(following))
        pieces.append(Piece(at, max(at, end), part))
    return pieces


def _clusters(text: str) -> list[tuple[int, int]]:
    """The pieces of a text that NFC composes by themselves."""
    found = []
    first = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or (not unicodedata.combining(text[at]) and _begins(text[first:at], text[at])):
            found.append((first, at))
            first = at
    return found


def _begins(before: str, character: str) -> bool:
    """Whether nothing in ``before`` composes with a character that is no combining mark."""
    together = unicodedata.normalize("NFC", before + character)
    return together == unicodedata.normalize("NFC", before) + unicodedata.normalize("NFC", character)
