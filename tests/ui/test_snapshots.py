"""Pictures of the dashboard, drawn from a store fed by hand: they change only when the look does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from mqdash.ui.presentation import texts
from tests.ui.conftest import make_stage

if TYPE_CHECKING:
    from textual.pilot import Pilot


@pytest.mark.parametrize("size", [(120, 40), (80, 24)], ids=["120x40", "80x24"])
def test_dashboard_looks_as_it_did(snap_compare: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    texts._clock.cache_clear()
    stage = make_stage()

    async def draw(pilot: Pilot[int]) -> None:
        for _ in range(30):
            stage.app.tick()
        await pilot.pause()

    assert snap_compare(stage.app, terminal_size=size, run_before=draw)
