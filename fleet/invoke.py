"""Send one request: through SageMaker's runtime, or straight to a server's ``/invocations``."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from artifact.aws import AwsClient, translated
from artifact.errors import TraceshipError, UsageError
from artifact.serving import ANSWER_TIMEOUT_SECONDS, INVOCATIONS


class InvocationFailed(TraceshipError):
    """The server answered with an error of its own."""

    id = "invocation-failed"

    def __init__(self, *, target: str, status: int, message: str) -> None:
        super().__init__(
            what=f"{target} did not answer the request",
            why=f"status {status}: {message}",
            fix="correct the request where the status is 4xx; else look at `traceship status`",
        )
        self.status = status


class ServerUnreachable(TraceshipError):
    """Nothing listens at the URL."""

    id = "server-unreachable"

    def __init__(self, *, url: str, why: str) -> None:
        super().__init__(
            what=f"no server answers at {url}",
            why=why,
            fix="start one with `traceship serve PATH --port N`, or see `traceship status` for addresses",
        )


class NotAUrl(UsageError):
    """The address cannot be one of our servers."""

    id = "not-a-url"

    def __init__(self, *, url: str) -> None:
        super().__init__(
            what=f"{url!r} is not the address of a server",
            why="it does not begin with http:// or https://",
            fix="give it as `--url http://127.0.0.1:8080`",
        )


def invoke_endpoint(
    runtime: AwsClient, *, endpoint: str, request: dict[str, Any], variant: str | None = None
) -> Any:
    """Return the endpoint's answer to ``request`` (the Hugging Face shape, ``{"inputs": …}``).

    ``variant``: the one to answer, whatever its weight; None leaves it to the weights.

    Raises:
        InvocationFailed: the container refused or failed; status and message are its own.
        AwsDenied, AwsUnreachable, AwsRefused: SageMaker did not pass the request on.
    """
    from botocore.exceptions import ClientError

    with translated(f"invoke the endpoint {endpoint}"):
        try:
            answer = runtime.invoke_endpoint(
                EndpointName=endpoint,
                ContentType="application/json",
                Body=json.dumps(request),
                **({} if variant is None else {"TargetVariant": variant}),
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ModelError":
                raise
            model: dict[str, Any] = {**error.response}
            raise InvocationFailed(
                target=f"the endpoint {endpoint}",
                status=model["OriginalStatusCode"],
                message=model["OriginalMessage"],
            ) from None
        return json.loads(answer["Body"].read())


def invoke_server(url: str, request: dict[str, Any]) -> Any:
    """Return the answer of the server at ``url`` (scheme, host and port).

    Raises:
        NotAUrl, ServerUnreachable, InvocationFailed: see there.
    """
    if not url.startswith(("http://", "https://")):
        raise NotAUrl(url=url)
    call = urllib.request.Request(  # noqa: S310 - the scheme was checked above
        url.rstrip("/") + INVOCATIONS,
        data=json.dumps(request).encode(),
        headers={"Content-Type": "application/json"},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(call, timeout=ANSWER_TIMEOUT_SECONDS) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        message = error.read().decode(errors="replace")
        raise InvocationFailed(target=url, status=error.code, message=message) from None
    except OSError as error:
        raise ServerUnreachable(url=url, why=str(getattr(error, "reason", error))) from None
