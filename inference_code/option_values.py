"""Values of arguments and environment variables, each checked, or an error that names it."""

from __future__ import annotations

from artifact.errors import UsageError


class OptionInvalid(UsageError):
    """An argument or an environment variable of the server cannot be used."""

    id = "option-invalid"

    def __init__(self, *, name: str, value: str, wanted: str) -> None:
        super().__init__(
            what=f"{name} cannot be used", why=f"it is {value!r}, not {wanted}", fix=f"set {name} to {wanted}"
        )


def number(name: str, value: str, *, at_least: float = 0, at_most: float) -> float:
    """
    Raises:
        OptionInvalid: see there.
    """
    try:
        found = float(value)
    except ValueError:
        found = float("nan")
    if not at_least <= found <= at_most:
        raise OptionInvalid(name=name, value=value, wanted=f"a number from {at_least:g} to {at_most:g}")
    return found


def whole_number(name: str, value: str, *, at_least: int = 1, at_most: int) -> int:
    """
    Raises:
        OptionInvalid: see there.
    """
    if not (value.isascii() and value.isdigit() and at_least <= int(value) <= at_most):
        raise OptionInvalid(name=name, value=value, wanted=f"a whole number from {at_least} to {at_most}")
    return int(value)


def switch(name: str, value: str | None) -> bool:
    """1 is on; 0, nothing or no value is off.

    Raises:
        OptionInvalid: see there.
    """
    if value not in {None, "", "0", "1"}:
        raise OptionInvalid(name=name, value=str(value), wanted="0 or 1")
    return value == "1"
