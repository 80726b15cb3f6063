"""What a lock says that nobody looked up. The local AWS does not mind; a real account must not get it."""

from __future__ import annotations

from artifact.release import ReleaseLock
from settings.model import Settings


def placeholders(settings: Settings, lock: ReleaseLock) -> tuple[str, ...]:
    """Name every placeholder of ``lock`` that a stack of ``settings`` would use, with its setting."""
    serves = settings.fleet is not None or settings.endpoint is not None
    candidates = [
        ("serving image (serve.image)", serves and lock.serving_image.placeholder),
        (
            "compile image (compile.image)",
            lock.compile_image.placeholder and not settings.compile.aws.build_image,
        ),
        ("machine image (fleet.ami)", settings.fleet is not None and lock.ami.placeholder),
    ]
    return tuple(name for name, used in candidates if used)
