"""Changes to a test broker that only its management API can make."""

import base64
import contextlib
import json
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import Target


def ask(target: Target, method: str, path: str, body: object = None) -> None:
    """Send it to `/api` + path; skips the test where there is no API."""
    _exchange(target, method, path, body)


def asked(target: Target, path: str) -> Any:
    """What `/api` + path answers; skips the test where there is no API."""
    return json.loads(_exchange(target, "GET", path))


def _exchange(target: Target, method: str, path: str, body: object = None) -> bytes:
    if target.management_url is None:
        pytest.skip(f"{target.name} has no management API")
    parts = urllib.parse.urlsplit(target.management_url)
    login = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    request = urllib.request.Request(
        f"http://{parts.hostname}:{parts.port}/api{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Basic {login}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: bytes = answer.read()
    return found


@contextlib.contextmanager
def user(target: Target, *, configure: str = ".*") -> Iterator[tuple[str, str]]:
    """A user of its own in the default vhost: (name, the broker's URL for it)."""
    name = f"mqdash-test-{uuid.uuid4().hex[:12]}"
    ask(target, "PUT", f"/users/{name}", {"password": "secret", "tags": ""})
    try:
        ask(target, "PUT", f"/permissions/%2f/{name}", {"configure": configure, "write": ".*", "read": ".*"})
        parts = urllib.parse.urlsplit(target.url)
        yield name, f"amqp://{name}:secret@{parts.hostname}:{parts.port}/?management=http://127.0.0.1:1"
    finally:
        ask(target, "DELETE", f"/users/{name}")
