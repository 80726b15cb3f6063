"""The pinned public keys and the release's signature, as the environment of the containers.

Verified at synth as well, so that a lock that no pinned key vouches for never becomes a template.
"""

from __future__ import annotations

import msgspec

from artifact import serving
from artifact.errors import UsageError
from artifact.keys import read_key
from artifact.release import ReleaseLock
from artifact.trust import SignatureMissing, check_signature
from settings.model import Signing


class TooManyKeys(UsageError):
    """More than fits into one variable of a container's environment."""

    id = "too-many-keys"

    def __init__(self, *, variable: str, size: int) -> None:
        super().__init__(
            what="the pinned keys do not fit into a container's environment",
            why=f"{variable} would have {size} bytes, SageMaker takes {serving.MAX_ENV_BYTES}",
            fix="take keys that sign nothing any more out of signing.trusted_keys",
        )


def signing_environment(signing: Signing, lock: ReleaseLock) -> dict[str, str]:
    """What the server needs to verify the release's signature; nothing where no key is pinned.

    Raises:
        SignatureMissing, WrongKey, …: the lock's release is not signed with a pinned key.
        TooManyKeys: see there.
    """
    if not signing.trusted_keys:
        return {}
    if isinstance(lock.signed, msgspec.UnsetType):
        raise SignatureMissing(place="`signed` of the lock")
    keys = [read_key(line, name="signing.trusted_keys") for line in signing.trusted_keys]
    check_signature(lock.digest, lock.signed.data, keys)
    values = {
        serving.ENV_PUBLIC_KEYS: ",".join(key.line for key in keys),
        serving.ENV_SIGNATURE: lock.signed.envelope,
    }
    for variable, value in values.items():
        if len(value) > serving.MAX_ENV_BYTES:
            raise TooManyKeys(variable=variable, size=len(value))
    return values
