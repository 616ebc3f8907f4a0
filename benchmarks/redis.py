"""Our Redis adapter beside bare redis-py and redis-benchmark (C): rate and CPU per message, on each Redis there is.

Streams: XADD in pipelines of 100, a receipt each; XREADGROUP and XACK of 100. Pub/Sub: PUBLISH in pipelines of 100; received
while redis-benchmark publishes. One connection for each, 200 bytes unless said. Our acknowledgement is a script that looks who
owns each entry (S8), and every reply of ours is judged; redis-benchmark only counts them, and reads no streams.
"""

import shutil

from benchmarks.clients import redis_native
from benchmarks.clients.task import Task
from benchmarks.figures import Figure, Options
from benchmarks.peers import Client, Timings, measured, pair, process, sized
from tests.harness.targets import targets

OURS, BARE, NATIVE = "mqdash", "redis-py", "redis-benchmark"
MESSAGES, PREFETCH = 30_000, 100
PUBLISH_CPU, CONSUME_CPU, RECEIVE_RATE = 1.2, 2.0, 0.3


def run(options: Options) -> list[Figure]:
    """All brokers of the harness that are up; the sizes on the newest of them."""
    if not shutil.which("redis-benchmark"):
        options.tell("  Redis is not measured: there is no redis-benchmark (package redis-tools)")
        return []
    clients: dict[str, Client] = {
        OURS: process("redis_mqdash"),
        BARE: process("redis_bare"),
        NATIVE: redis_native.measured,
    }
    figures: list[Figure] = []
    newest = targets("redis")[-1]
    for broker in targets("redis"):
        if not broker.available:
            options.tell(f"  {broker.name} is not measured: {broker.reason}")
            continue
        tasks = {"": Task(url=broker.url, queue="", n=MESSAGES, prefetches=(PREFETCH,))}
        if broker == newest:
            tasks |= sized(broker.url, PREFETCH)
        found = measured(clients, tasks.values(), options.rounds)
        for size, task in tasks.items():
            figures += _compared(f"{broker.name}, {size}" if size else broker.name, task, found[task])
    return figures


def _compared(where: str, task: Task, found: dict[str, Timings]) -> list[Figure]:
    ours, bare, native = found[OURS], found[BARE], found[NATIVE]
    consume = f"prefetch {task.prefetches[0]}"
    publish, channel = f"{where}: XADD, 100 at a time", f"{where}: PUBLISH, 100 at a time"
    return [
        *pair(publish, ours["publish"], BARE, bare["publish"], cpu_at_most=PUBLISH_CPU),
        *pair(publish, ours["publish"], NATIVE, native["publish"]),
        *pair(f"{where}: consume, {consume}", ours[consume], BARE, bare[consume], cpu_at_most=CONSUME_CPU),
        *pair(channel, ours["channel publish"], BARE, bare["channel publish"], cpu_at_most=PUBLISH_CPU),
        *pair(channel, ours["channel publish"], NATIVE, native["channel publish"]),
        *pair(f"{where}: receive", ours["receive"], BARE, bare["receive"], rate_at_least=RECEIVE_RATE),
    ]
