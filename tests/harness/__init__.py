"""Real brokers for the tests, without Docker: RabbitMQ 3.10 and 4, Redis 7 and 8, Apache Kafka 4.

``make brokers`` (``python -m tests.harness up``) installs and starts them, ``make brokers-down`` stops them,
``python -m tests.harness status`` prints ``name url`` lines. They listen on 127.0.0.1 only, on private ports.

**A test on the shared brokers** takes its target by parameter. Use names of your own (a uuid) and clean up after you::

    from tests.harness import Target, broker_targets

    @broker_targets("rabbitmq")                    # also marks it `broker`; runs on rabbitmq-3.10 and rabbitmq-4
    async def test_R24_close_requeues(target: Target) -> None:
        await connect(target.url)                  # target.management_url, .version, .family, .name

**A fixture over embedded and real** (conformance)::

    @pytest.fixture(params=["embedded", *target_params("rabbitmq")])
    async def broker(request):
        url = "embedded://rabbitmq" if request.param == "embedded" else require_target(request.param).url

**A test that kills its broker** starts one of its own (blocking, so through a thread in async tests)::

    broker = await asyncio.to_thread(start, "redis-8", durable=True)
    broker.kill9(); broker.restart(); broker.stop()
    # or: with start_or_skip("rabbitmq-4") as broker: ...

A broker that is not there skips the test; every skip is listed at the end as "could not run", and with ``CI=true`` that
fails the session. ``MQDASH_TEST_RABBITMQ_URL``, ``_KAFKA_URL``, ``_REDIS_URL`` replace the target whose version they
report.
"""

from tests.harness.brokers import NAMES, RunningBroker, start
from tests.harness.installs import Unavailable
from tests.harness.marks import broker_targets, require_target, start_or_skip, target_params
from tests.harness.process import HarnessError
from tests.harness.targets import Target, target, target_names, targets

__all__ = [
    "NAMES",
    "HarnessError",
    "RunningBroker",
    "Target",
    "Unavailable",
    "broker_targets",
    "require_target",
    "start",
    "start_or_skip",
    "target",
    "target_names",
    "target_params",
    "targets",
]
