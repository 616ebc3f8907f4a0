"""What the screen takes from the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`keys`: ids of the keymap to other keys; `motion`: whether dots move; `state_dir`: where copied text is kept too."""

    motion: bool = True
    mouse: bool = True
    colour: bool = True
    keys: Mapping[str, str] = field(default_factory=dict)
    state_dir: Path | None = None
