"""When a group's size changes by the clock: five fields of cron, in a time zone.

The fields are those of crontab(5), which Auto Scaling's recurrence follows (API reference,
PutScheduledUpdateGroupAction). What AWS would refuse at the end of a deploy is refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from settings.cron import parse_five
from settings.section import Section
from settings.timezone import check_zone

Size = Annotated[int, Field(ge=0, le=1000)]


class Schedule(Section):
    """A change of size at a time of day; what it does not name stays as it is."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,30}$")]
    """What the change is called in the stack, such as ``night``."""
    cron: str
    """When, as five fields of cron: minute, hour, day of month, month, day of week."""
    timezone: str = "UTC"
    """IANA name of the time zone of ``cron``, such as ``Europe/Berlin``; daylight saving is followed."""
    min: Size | None = None
    """Fewest instances from then on."""
    max: Size | None = None
    """Most instances from then on."""
    desired: Size | None = None
    """Instances at that moment; scaling moves the number from there."""

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, text: str) -> str:
        parse_five(text)
        return " ".join(text.split())

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        return check_zone(name)

    @model_validator(mode="after")
    def _changes_something(self) -> Schedule:
        sizes = [size for size in (self.min, self.desired, self.max) if size is not None]
        if not sizes:
            raise ValueError(f"schedule {self.name} changes nothing: give min, max or desired")
        if sizes != sorted(sizes):
            raise ValueError(f"schedule {self.name}: min, desired and max must rise in that order")
        return self


def check_returns(entries: Sequence[Schedule]) -> None:
    """See that names differ, and that a bound which one entry sets is set back by another one.

    Raises:
        ValueError: they do not; a bound that is set once would stay so for ever.
    """
    if len({entry.name for entry in entries}) < len(entries):
        raise ValueError("two entries of the schedule have the same name")
    for bound in ("min", "max"):
        setting = [entry.name for entry in entries if getattr(entry, bound) is not None]
        if len(setting) == 1:
            raise ValueError(f"schedule {setting[0]} sets {bound} and no other entry sets it back")


def check_sizes(entries: Sequence[Schedule], *, min_size: int, max_size: int) -> None:
    """See that no entry asks for sizes outside of all bounds that the group ever has.

    Raises:
        ValueError: one does; Auto Scaling would take it and refuse the change when it is due.
    """
    least = min([min_size, *(entry.min for entry in entries if entry.min is not None)])
    most = max([max_size, *(entry.max for entry in entries if entry.max is not None)])
    for entry in entries:
        for name in ("min", "max", "desired"):
            size = getattr(entry, name)
            if size is not None and not least <= size <= most:
                raise ValueError(
                    f"schedule {entry.name}: {name} {size} is outside of {least} to {most}, the sizes that "
                    "the fleet and its schedule allow"
                )
