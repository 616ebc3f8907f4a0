"""Secrets that cannot be shown by accident."""

from __future__ import annotations


class Secret:
    """A password or token: every way of printing it gives dots; only an adapter calls `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself, for the client library alone."""
        return self._value

    def __repr__(self) -> str:
        return "••••"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("••••", spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[object, ...]:
        msg = "a Secret is not pickled"
        raise TypeError(msg)
