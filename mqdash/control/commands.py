"""The broker's own tools' words for what mqdash does: shown in the Log so that it can be learned and scripted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqdash.model.message import Family

if TYPE_CHECKING:
    from mqdash.brokers.url import BrokerUrl


def native_command(url: BrokerUrl, action: str, subject: str) -> str:
    """The equivalent command line for an action, or '' when the broker's tools have none (a lab worker's kill is a signal)."""
    if action == "kill":
        return "kill -9 PID  (of the worker's process)"
    if action != "publish":
        return ""
    if url.family is Family.RABBITMQ:
        exchange, _, key = subject.partition(" ")
        return f"rabbitmqadmin publish exchange={exchange} routing_key={key} payload=…"
    if url.family is Family.KAFKA:
        return f"kafka-console-producer --bootstrap-server {url.address} --topic {subject.split(' ', maxsplit=1)[0]}"
    return f"redis-cli -u {url.safe} XADD {subject.split(' ', maxsplit=1)[0]} * body …"
