"""Fixtures of the conformance bodies: a subject, a life on it, and a fresh place of work that is removed afterwards."""

from collections.abc import AsyncIterator, Iterator

import pytest

from mqdash.brokers.base import Broker
from tests.conformance.amqp import Amqp, amqp_for
from tests.conformance.logs import Logs
from tests.conformance.logs_kafka import logs_for
from tests.conformance.streams import Streams, streams_for
from tests.conformance.subjects import Subject, Work, make_subject


@pytest.fixture
async def subject(request: pytest.FixtureRequest) -> Subject:
    return make_subject(request.param)


@pytest.fixture
async def broker(subject: Subject) -> AsyncIterator[Broker]:
    async with subject.life() as life:
        yield life


@pytest.fixture
async def work(subject: Subject, broker: Broker) -> AsyncIterator[Work]:
    place = subject.work()
    await broker.declare(place.topology)
    yield place
    async with subject.life() as cleaner:
        await cleaner.remove(place.topology)


@pytest.fixture
def amqp(request: pytest.FixtureRequest) -> Iterator[Amqp]:
    """RabbitMQ by a bare client, for bodies marked `@natively`."""
    with amqp_for(request.param) as found:
        yield found


@pytest.fixture
def streams(request: pytest.FixtureRequest) -> Iterator[Streams]:
    """A stream by bare commands, for bodies marked `@streams_natively`."""
    with streams_for(request.param) as found:
        yield found


@pytest.fixture
def topic_config() -> dict[str, str]:
    """Settings of the topic on a real Kafka; a test gives its own by this name."""
    return {}


@pytest.fixture
async def logs(request: pytest.FixtureRequest, topic_config: dict[str, str]) -> AsyncIterator[Logs]:
    """A topic by bare commands, for bodies marked `@logs_natively`."""
    async with logs_for(request.param, config=topic_config) as found:
        yield found
