"""What may go wrong in publishing and nowhere else; what AWS says is in ``artifact/aws.py``."""

from __future__ import annotations

from artifact.errors import Conflict, TraceshipError, UsageError
from compile.cut import MAX_OBJECT_BYTES


class FileTooLarge(UsageError):
    """A file is larger than S3 stores."""

    id = "file-too-large"

    def __init__(self, *, path: str, size: int) -> None:
        super().__init__(
            what=f"{path} cannot be uploaded",
            why=f"it has {size} bytes, an object may have {MAX_OBJECT_BYTES}",
            fix="compile fewer or smaller buckets",
        )


class ReleaseTaken(Conflict):
    """Another manifest lies where ours belongs. ``facts``: what S3 tells of it."""

    id = "release-taken"

    def __init__(self, *, key: str, facts: str) -> None:
        super().__init__(
            what=f"{key} is already there with other content ({facts})",
            why="its place is named after our digest, so that object was damaged or planted",
            fix="inspect the object's versions and remove the wrong one, then ship again",
        )


class BucketForeign(Conflict):
    """The bucket answers, and its owner is another account."""

    id = "bucket-foreign"

    def __init__(self, *, bucket: str, account: str) -> None:
        super().__init__(
            what=f"the bucket {bucket} belongs to somebody else",
            why=f"its owner is not the account {account}; nothing was sent to it",
            fix="set project.account or AWS_PROFILE to the owner's, or choose another project.name",
        )


class NameReserved(UsageError):
    """A file to lie beside the manifest has a name that it cannot have."""

    id = "name-reserved"

    def __init__(self, *, name: str) -> None:
        super().__init__(
            what=f"a release cannot hold a file named {name!r} beside its manifest",
            why="the name is one of the release's own, or not a plain name",
            fix="choose another file name, without a slash",
        )


class ScratchUnusable(TraceshipError):
    """The archive could not be written to the folder for temporary files."""

    id = "scratch-unusable"

    def __init__(self, *, folder: str, why: str, needed: int) -> None:
        super().__init__(
            what=f"the archive could not be written below {folder}",
            why=f"{why}; it needs about {needed / 1e6:.0f} MB there",
            fix="set TMPDIR to a folder with room, then run again; what was sent is not sent again",
        )


class UploadVanished(TraceshipError):
    """Somebody removed an unfinished upload under us. ``publish`` begins again by itself."""

    id = "upload-vanished"

    def __init__(self, *, file: str) -> None:
        super().__init__(
            what=f"the unfinished upload of {file} disappeared while its parts were sent",
            why="another process completed or removed it, or the bucket's lifecycle rule did",
            fix="run the command again; what is there is not sent again",
        )


class ReleaseVanished(TraceshipError):
    """Somebody removes the release as often as we publish it. ``publish`` begins again by itself."""

    id = "release-vanished"

    def __init__(self, *, key: str) -> None:
        super().__init__(
            what="the release disappeared while it was published",
            why=f"{key} was there, and is not there any more: somebody deletes it, such as `traceship gc`",
            fix="see that nobody deletes this release, then run the command again",
        )


class StoredWrong(TraceshipError):
    """S3 took every part and then names another checksum of the whole."""

    id = "stored-wrong"

    def __init__(self, *, file: str, expected: str, found: str) -> None:
        super().__init__(
            what=f"{file} is in S3, but not as it was sent",
            why=f"S3 names the checksum {found}, its parts have {expected}",
            fix="run the command again; that object is replaced",
        )
