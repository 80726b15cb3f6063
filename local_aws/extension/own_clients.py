"""Clients for this very server: what a service of AWS does in another, it does over HTTP here, too.

Call them from threads only; the server itself answers on its one event loop.
"""

from __future__ import annotations

import functools
from typing import Any

import botocore.session
from botocore.config import Config

from local_aws.extension.registry import Server


@functools.cache
def client(server: Server, service: str) -> Any:
    """A botocore client of ``service``, such as ``s3``."""
    return botocore.session.get_session().create_client(
        service,
        region_name=server.region,
        endpoint_url=server.endpoint,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",  # noqa: S106 - the local AWS takes any key
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}, proxies={}),
    )
