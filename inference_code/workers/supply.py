"""The sealed files that workers inherit: verified bytes, handed on as descriptors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from artifact.sealed import Sealed
from artifact.verify import VerifiedArtifact
from inference_code.graphs import files_of


class Supply:
    """The weights stay open, so that all workers map one copy of them.

    Graphs are let go once they are inherited: on Inf1 each holds its own weights, and would take
    the host's memory twice. For a later start they are read and hashed anew.
    """

    def __init__(self, artifact: VerifiedArtifact) -> None:
        self._artifact = artifact
        weights = artifact.manifest.weights
        self._weights = {} if weights is None else {weights: artifact.take(weights)}

    @property
    def digest(self) -> str:
        """Of the artifact's manifest."""
        return self._artifact.digest

    def files(self) -> contextlib.AbstractContextManager[Mapping[str, Sealed]]:
        """All files of the graphs, for as long as they are needed.

        Raises:
            ArtifactChanged: a file is no longer what was verified.
        """
        paths = files_of(self._artifact.manifest) - self._weights.keys()
        return _lent({path: self._artifact.take(path) for path in sorted(paths)}, self._weights)

    def close(self) -> None:
        """Nothing more will be asked for."""
        for sealed in self._weights.values():
            sealed.close()


@contextlib.contextmanager
def _lent(given: Mapping[str, Sealed], kept: Mapping[str, Sealed]) -> Iterator[Mapping[str, Sealed]]:
    try:
        yield {**given, **kept}
    finally:
        for sealed in given.values():
            sealed.close()
