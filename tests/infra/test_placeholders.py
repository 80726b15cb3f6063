"""What no real account may get."""

from __future__ import annotations

from artifact.release import Ami, Image
from infra.placeholders import placeholders
from tests.infra.worlds import CPU, lock_of, settings_of

REAL = Image(repository="traceship/serving", digest="1" * 64, placeholder=False)


def test_every_placeholder_that_a_stack_would_use_is_named() -> None:
    """With the setting that replaces it."""
    assert placeholders(settings_of(CPU), lock_of("cpu")) == (
        "serving image (serve.image)",
        "compile image (compile.image)",
        "machine image (fleet.ami)",
    )


def test_what_no_stack_uses_does_not_matter() -> None:
    """Without a fleet nobody needs an AMI, without services nobody serves."""
    endpoint_only = settings_of({"endpoint": CPU["endpoint"]})

    assert "machine image (fleet.ami)" not in placeholders(endpoint_only, lock_of("cpu"))
    assert placeholders(settings_of({}), lock_of("cpu")) == ("compile image (compile.image)",)


def test_an_image_that_the_stack_builds_itself_need_not_be_named() -> None:
    """The lock's is of the machine that compiled; jobs run another."""
    builds = settings_of({"compile": {"aws": {"build_image": True}}})

    assert placeholders(builds, lock_of("cpu")) == ()


def test_what_was_looked_up_is_no_placeholder() -> None:
    """Then nothing stands in the way of a deploy."""
    ami = Ami(id="ami-12345678", placeholder=False)
    lock = lock_of("cpu", serving_image=REAL, compile_image=REAL, ami=ami)

    assert placeholders(settings_of(CPU), lock) == ()
