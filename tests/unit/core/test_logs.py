"""The log file holds no secret (fault 70) and stops nothing when it cannot be written (fault 69)."""

from __future__ import annotations

import base64
import logging
from typing import TYPE_CHECKING

import pytest

from mqdash.logs import Redaction, to_file
from mqdash.model.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "ca/na ry@1"


@pytest.mark.parametrize(
    "text",
    [
        f"login with {CANARY} failed",
        "amqp://user:ca%2Fna%20ry%401@host/",
        f"Authorization: Basic {base64.b64encode(f'user:{CANARY}'.encode()).decode()}",
        base64.b64encode(f"\0user\0{CANARY}".encode()).decode(),
    ],
)
def test_fault_70_a_known_secret_is_struck_out_in_every_form(text: str) -> None:
    redaction = Redaction()
    redaction.learn(Secret(CANARY), "user")
    cleaned = redaction.clean(text)
    assert "••••" in cleaned
    for form in (CANARY, "ca%2Fna", base64.b64encode(f"user:{CANARY}".encode()).decode()):
        assert form not in cleaned


def test_fault_70_what_looks_like_a_secret_is_struck_out_unknown() -> None:
    redaction = Redaction()
    for text in ("redis://:hunter2@h/0", "password=hunter2", "AUTH hunter2", "Authorization: Bearer hunter2"):
        assert "hunter2" not in redaction.clean(text)


def test_fault_69_a_log_that_cannot_be_written_is_said_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    before = logging.getLogger().handlers[:]
    try:
        assert "no log" in to_file(tmp_path / "file" / "mqdash.log")
        assert to_file(tmp_path / "log" / "mqdash.log") == ""
        logging.getLogger("mqdash").error("password=%s", "hunter2")
        assert "hunter2" not in (tmp_path / "log" / "mqdash.log").read_text()
        assert "password=" in (tmp_path / "log" / "mqdash.log").read_text()
    finally:
        for handler in logging.getLogger().handlers:
            handler.close()
        logging.getLogger().handlers[:] = before
