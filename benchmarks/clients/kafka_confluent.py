"""confluent-kafka, the C library: produce with a report each, consume and commit per batch. Its threads are in its CPU."""

import importlib
import time
from typing import Any

from benchmarks.clients.task import WINDOW, Stopwatch, Task, Timing, report, task

LIMIT_S = 10.0
# Not there on every Python; by name, so that nothing else needs it.
confluent_kafka: Any = importlib.import_module("confluent_kafka")
admin: Any = importlib.import_module("confluent_kafka.admin")


def main(job: Task) -> dict[str, Timing]:
    common = {"bootstrap.servers": job.url.partition("//")[2]}
    client = admin.AdminClient(common)
    client.create_topics([admin.NewTopic(job.queue, num_partitions=1, replication_factor=1)])[job.queue].result()
    timings = {"publish": publish(common, job)}
    for prefetch in job.prefetches:
        timings[f"prefetch {prefetch}"] = consume(common, job.queue, prefetch, job.n)
    client.delete_topics([job.queue])[job.queue].result()
    return timings


def publish(common: dict[str, Any], job: Task) -> Timing:
    """At most `WINDOW` without a report; ends at the last one."""
    producer = confluent_kafka.Producer(
        common
        | {
            "acks": "all",
            "enable.idempotence": True,
            "batch.size": 262_144,
            "linger.ms": 5,
            "queue.buffering.max.messages": WINDOW,
        }
    )
    reported = 0

    def on_delivery(error: Any, _message: Any) -> None:
        nonlocal reported
        assert error is None, str(error)
        reported += 1

    body = job.body
    producer.produce(job.queue, b"first", on_delivery=on_delivery)
    assert producer.flush(LIMIT_S) == 0
    watch = Stopwatch()
    for _ in range(job.n):
        while True:
            try:
                producer.produce(job.queue, body, on_delivery=on_delivery)
            except BufferError:
                producer.poll(LIMIT_S)
            else:
                break
        producer.poll(0)
    assert producer.flush(LIMIT_S) == 0
    timing = watch.stop(job.n)
    assert reported == job.n + 1
    return timing


def consume(common: dict[str, Any], topic: str, prefetch: int, n: int) -> Timing:
    """From the first batch on; it has prefetched in threads of its own before that."""
    consumer = confluent_kafka.Consumer(
        common | {"group.id": "bench", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    end_s = time.monotonic() + LIMIT_S
    first = taken = 0
    while not taken and time.monotonic() < end_s:
        first = taken = _batch(consumer, prefetch)
    assert taken, "nothing came"
    watch = Stopwatch()
    consumer.commit(asynchronous=False)
    while taken < n:
        taken += _batch(consumer, prefetch)
        consumer.commit(asynchronous=False)
    timing = watch.stop(taken - first)
    consumer.close()
    return timing


def _batch(consumer: Any, prefetch: int) -> int:
    return sum(len(message.value()) > 0 for message in consumer.consume(prefetch, 1.0) if message.error() is None)


if __name__ == "__main__":
    report(main(task()))
