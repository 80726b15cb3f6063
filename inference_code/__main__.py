"""``python -m inference_code serve | fetch | watch``: what the image and the instances run."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from artifact.errors import TraceshipError
from inference_code import log
from inference_code.log_writer import LineWriter


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see ``artifact.errors``)."""
    arguments = _parser().parse_args(argv)
    lines = log.configure()
    try:
        log.come_from(instance=log.instance_in(os.environ))
        if arguments.command == "fetch":
            _fetch(arguments)
        elif arguments.command == "watch":
            _watch(lines)
        else:
            _serve(arguments, lines)
    except TraceshipError as error:
        return refused(error)
    except KeyboardInterrupt:
        log.logger.error("interrupted")
        return 130
    finally:
        # Whoever called has the lines when the exit code is there.
        lines.close(log.CLOSE_SECONDS)
    return 0


def refused(error: TraceshipError) -> int:
    """Log an error that ends the command; return its exit code."""
    facts = {"error": error.id, "what": error.what, "why": error.why, "fix": error.fix}
    log.logger.error("refused", extra=facts)
    return error.exit_code


def _serve(arguments: argparse.Namespace, lines: LineWriter) -> None:
    from inference_code.options import serve_options
    from inference_code.server import serve

    serve(
        serve_options(
            os.environ,
            path=arguments.path,
            host=arguments.host,
            port=arguments.port,
            digest=arguments.digest,
            keys=arguments.key,
            signature=arguments.signature,
            lame_duck=arguments.lame_duck,
            workers=arguments.workers,
            models=arguments.models,
        ),
        lines,
    )


def _fetch(arguments: argparse.Namespace) -> None:
    from inference_code.fetch import fetch, fetch_options, s3_client

    options = fetch_options(
        os.environ,
        release=arguments.release,
        digest=arguments.digest,
        to=arguments.to,
        owner=arguments.expected_bucket_owner,
        keys=arguments.key,
        signature=arguments.signature,
    )
    log.come_from(digest=options.digest)
    fetch(options, s3_client())


def _watch(lines: LineWriter) -> None:
    from inference_code.host.command import watch

    watch(os.environ, lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m inference_code", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="verify an artifact and answer requests")
    serve.add_argument("path", nargs="?", help="the artifact (TRACESHIP_MODEL_DIR, /opt/ml/model)")
    serve.add_argument("--host", help="address to listen on (TRACESHIP_HOST, 127.0.0.1)")
    serve.add_argument("--port", help="0 for any free one (SAGEMAKER_BIND_TO_PORT, 8080)")
    serve.add_argument("--digest", help="the manifest's SHA-256 to insist on (TRACESHIP_DIGEST)")
    _add_signature(serve)
    serve.add_argument("--lame-duck", help="seconds to fail /ping before closing on SIGTERM (2)")
    help_of_workers = "processes with graphs (TRACESHIP_WORKERS, one a NeuronCore group or processor)"
    serve.add_argument("--workers", help=help_of_workers)
    serve.add_argument(
        "--models", help="file that names several artifacts, instead of PATH (TRACESHIP_MODELS)"
    )
    fetch = commands.add_parser("fetch", help="download a release from S3 and verify it")
    fetch.add_argument("--release", help="s3://bucket/releases/NAME/DIGEST (TRACESHIP_RELEASE)")
    fetch.add_argument("--digest", help="the manifest's SHA-256 to insist on (TRACESHIP_DIGEST)")
    fetch.add_argument("--to", help="folder to make (TRACESHIP_MODEL_DIR, /opt/ml/model)")
    fetch.add_argument("--expected-bucket-owner", help="account of the bucket (TRACESHIP_BUCKET_OWNER)")
    _add_signature(fetch)
    commands.add_parser("watch", help="watch the chips of an Inf1 instance; neuron-monitor on stdin")
    return parser


def _add_signature(parser: argparse.ArgumentParser) -> None:
    help_of_key = "PEM file of a public key that must have signed it; repeat (TRACESHIP_PUBLIC_KEYS)"
    parser.add_argument("--key", action="append", default=[], metavar="FILE", help=help_of_key)
    parser.add_argument("--signature", metavar="FILE", help="the envelope (TRACESHIP_SIGNATURE, beside it)")


def _end(code: int) -> NoReturn:
    """End here and now, with that code.

    The interpreter's own shutdown takes things away from threads that still load or hash something
    (``threads.py``): now and then that ended a server with a signal in place of its exit code.
    """
    logging.shutdown()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    _end(main())
