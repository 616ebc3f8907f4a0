"""Our Kafka adapter beside bare aiokafka and confluent-kafka (C): rate and CPU per message.

One topic of one partition for each client and round; acks=all, idempotent, batches of 256 KiB or 5 ms, 1,000 records open, 200
bytes unless said. A burst is 1,000 records in one call, 5,000 open. Consuming commits once per batch of 500.
"""

import importlib.util

from benchmarks.clients.task import Task
from benchmarks.figures import Figure, Options
from benchmarks.peers import Client, Timings, measured, pair, process, sized
from tests.harness.targets import targets

OURS, BARE, NATIVE = "mqdash", "aiokafka", "confluent-kafka"
MESSAGES, PREFETCH = 60_000, 500
PUBLISH_CPU, CONSUME_CPU, BURST_RATE = 1.2, 2.0, 3.0
PUBLISH, BURST = "publish, 20 at a time", "publish, bursts of 1,000"


def run(options: Options) -> list[Figure]:
    """All brokers of the harness that are up."""
    clients: dict[str, Client] = {OURS: process("kafka_mqdash"), BARE: process("kafka_aiokafka")}
    if importlib.util.find_spec("confluent_kafka"):
        clients[NATIVE] = process("kafka_confluent")
    else:
        options.tell("  confluent-kafka is not measured: it is not installed (make bench does)")
    figures: list[Figure] = []
    for broker in targets("kafka"):
        if not broker.available:
            options.tell(f"  {broker.name} is not measured: {broker.reason}")
            continue
        bodies = sized(broker.url, PREFETCH)
        base = Task(url=broker.url, queue="", n=MESSAGES, prefetches=(PREFETCH,), bursts=True)
        found = measured(clients, [base, *bodies.values()], options.rounds)
        figures += _compared(broker.name, base, found[base]) + _bursts(broker.name, found[base])
        for size, task in bodies.items():
            figures += _compared(f"{broker.name}, {size}", task, found[task])
    return figures


def _compared(where: str, task: Task, found: dict[str, Timings]) -> list[Figure]:
    figures: list[Figure] = []
    consume = f"prefetch {task.prefetches[0]}"
    for work, words, budget in (("publish", PUBLISH, PUBLISH_CPU), (consume, f"consume, {consume}", CONSUME_CPU)):
        for peer in [name for name in found if name != OURS]:
            cpu_at_most = budget if peer == BARE else None
            figures += pair(f"{where}: {words}", found[OURS][work], peer, found[peer][work], cpu_at_most=cpu_at_most)
    return figures


def _bursts(where: str, found: dict[str, Timings]) -> list[Figure]:
    ours, bare = found[OURS]["burst"], found[BARE]
    name = f"{where}: {BURST}"
    return [
        *pair(name, ours, "aiokafka, send()", bare["bare burst"], rate_at_least=BURST_RATE),
        *pair(name, ours, "aiokafka, send_batch()", bare["batches"]),
    ]
