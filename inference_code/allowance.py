"""How large an answer may become, and until when it may be written: asked with every piece of it."""

from __future__ import annotations

import math
import time

from artifact.serving import MAX_ANSWER_BYTES
from inference_code.errors import AnswerTooLarge, DeadlinePassed


class Allowance:
    """Of one answer. A thread that writes cannot be stopped from outside: it stops here.

    Args:
        deadline: by ``time.monotonic``; ``seconds`` is how it is told to the client.
    """

    def __init__(
        self, deadline: float = math.inf, *, seconds: float = 0.0, limit: int = MAX_ANSWER_BYTES
    ) -> None:
        self._deadline = deadline
        self._seconds = seconds
        self._limit = limit
        self._taken = 0

    def take(self, piece: bytes) -> bytes:
        """``piece`` itself, which is part of the answer.

        Raises:
            AnswerTooLarge: the pieces are larger than an answer may be.
            DeadlinePassed: nobody waits for the answer any more.
        """
        self._taken += len(piece)
        if self._taken > self._limit:
            raise AnswerTooLarge(found=self._taken, limit=self._limit, at_least=True)
        self.check_time()
        return piece

    def check_time(self) -> None:
        """
        Raises:
            DeadlinePassed: see ``take``.
        """
        if time.monotonic() >= self._deadline:
            raise DeadlinePassed(seconds=self._seconds)
