"""Clients that ask each question once, for one look at a world that stands still."""

from __future__ import annotations

import json
from typing import Any

from local_aws.conformance.selfcheck import Clients


class Remembering:
    """Describe calls of ``clients`` by service, operation and request; refusals are remembered too.

    Use one for a single look: what changes afterwards is not seen.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._answers: dict[tuple[str, str, str], Any] = {}

    def client(self, service: str, /) -> Any:
        """A client that looks like boto3's; a paginator of it asks anew."""
        return _Client(self._clients.client(service), service, self._answers)


class _Client:
    def __init__(self, client: Any, service: str, answers: dict[tuple[str, str, str], Any]) -> None:
        self._client = client
        self._service = service
        self._answers = answers

    def __getattr__(self, operation: str) -> Any:
        own = getattr(self._client, operation)
        if not operation.startswith(("describe_", "get_", "list_", "head_")) or operation == "get_paginator":
            return own

        def once(**request: Any) -> Any:
            from botocore.exceptions import ClientError

            key = (self._service, operation, json.dumps(request, sort_keys=True, default=str))
            if key not in self._answers:
                try:
                    self._answers[key] = own(**request)
                except ClientError as error:
                    self._answers[key] = error
            answer = self._answers[key]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return once
