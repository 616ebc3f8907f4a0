"""Message templates of scenario files: `${name}` is a builtin value or a generated field. Nothing is evaluated."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection, Mapping

PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


class FieldSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one field is generated: exactly one of `number` (low, high), `choice` (with `weights`), `hex` (digits)."""

    number: tuple[float, float] | None = None
    decimals: int = 0
    choice: tuple[str, ...] | None = None
    weights: tuple[float, ...] | None = None
    hex: int | None = None

    @property
    def problem(self) -> str:
        """What is wrong with it, or ''."""
        if sum(kind is not None for kind in (self.number, self.choice, self.hex)) != 1:
            return "a field needs exactly one of number, choice, hex"
        if self.number is not None and self.number[0] > self.number[1]:
            return "number = [low, high] needs low <= high"
        if self.choice is not None and not self.choice:
            return "choice needs at least one value"
        if self.weights is not None and len(self.weights) != len(self.choice or ()):
            return "weights needs one number for each choice"
        if self.weights is not None and (min(self.weights) < 0 or sum(self.weights) <= 0):
            return "weights must not be negative and not all zero"
        return "hex needs 1 to 64 digits" if self.hex is not None and not 1 <= self.hex <= 64 else ""

    def drawer(self) -> Callable[[random.Random], str]:
        """A function that draws one value as text."""
        if self.number is not None:
            low, high = self.number
            decimals = self.decimals
            return lambda rng: f"{rng.uniform(low, high):.{decimals}f}"
        if self.hex is not None:
            digits = self.hex
            return lambda rng: f"{rng.getrandbits(4 * digits):0{digits}x}"
        choice, weights = self.choice or ("",), self.weights
        if weights is None:
            return lambda rng: rng.choice(choice)
        return lambda rng: rng.choices(choice, weights)[0]


class Template:
    """A text compiled once; rendering joins its pieces with the values given."""

    def __init__(self, text: str) -> None:
        self.text = text
        pieces = PLACEHOLDER.split(text)
        self._literals = pieces[::2]
        self.names: tuple[str, ...] = tuple(pieces[1::2])

    def render(self, values: Mapping[str, str]) -> str:
        """The text with every placeholder replaced; `values` must have all of `names`."""
        if not self.names:
            return self.text
        pieces = [self._literals[0]]
        for name, literal in zip(self.names, self._literals[1:], strict=True):
            pieces.append(values[name])
            pieces.append(literal)
        return "".join(pieces)

    @property
    def pattern(self) -> str:
        """The text with `*` for every placeholder: what a record shows of it."""
        return "*".join(self._literals)


class Fields:
    """The generated fields that some templates use, drawn once per message so that all of them agree."""

    def __init__(self, specs: Mapping[str, FieldSpec], templates: Collection[Template]) -> None:
        used = {name for template in templates for name in template.names}
        # In the file's order: the same seed must draw the same values.
        self._drawers = [(name, spec.drawer()) for name, spec in specs.items() if name in used]

    def draw(self, rng: random.Random) -> dict[str, str]:
        """One value each."""
        return {name: drawer(rng) for name, drawer in self._drawers}
