"""Our RabbitMQ adapter beside bare pika and aio-pika: rate and CPU per message, on each RabbitMQ there is.

The same kind of queue (classic, transient), body (200 bytes unless said), properties (transient) and window (1,000
unconfirmed) for all. Publishing ends at the last confirm; consuming starts with the first delivery of a filled queue. CPU per
message is far steadier than the rate; under 1.2x is equal.
"""

from benchmarks.clients.task import Task
from benchmarks.figures import Figure, Options
from benchmarks.peers import Client, Timings, measured, pair, process, sized
from tests.harness.targets import targets

OURS, PEERS = "mqdash", {"pika": "pika_client", "aio-pika": "aio_pika_client"}
MESSAGES, MESSAGES_SINGLE = 12_000, 2_000
PREFETCHES = (500, 50, 1)
PUBLISH_CPU = 1 / 1.5
"""At most this part of what bare pika needs."""
WORDS = {
    "publish": "publish + confirm, 1,000 open",
    "prefetch 500": "consume, prefetch 500",
    "prefetch 50": "consume, prefetch 50",
    "prefetch 1": "consume, prefetch 1",
}
PER_50 = "prefetch 500, ack per 50"


def run(options: Options) -> list[Figure]:
    """All brokers of the harness that are up; the sizes on the newest of them."""
    figures: list[Figure] = []
    clients: dict[str, Client] = {OURS: process("mqdash_client")}
    clients |= {peer: process(module) for peer, module in PEERS.items()}
    bare = {name: clients[name] for name in (OURS, "pika")}
    newest = targets("rabbitmq")[-1]
    for broker in targets("rabbitmq"):
        if not broker.available:
            options.tell(f"  {broker.name} is not measured: {broker.reason}")
            continue
        task = Task(url=broker.url, queue="", n=MESSAGES, n_single=MESSAGES_SINGLE, prefetches=PREFETCHES)
        figures += _compared(broker.name, measured(clients, [task], options.rounds)[task])
        bodies = sized(broker.url, PREFETCHES[0]) if broker == newest else {}
        by_task = measured(bare, bodies.values(), options.rounds)
        for size, body in bodies.items():
            figures += _sized(f"{broker.name}, {size}", f"prefetch {body.prefetches[0]}", by_task[body])
    return figures


def _compared(broker: str, found: dict[str, Timings]) -> list[Figure]:
    figures: list[Figure] = []
    for work, words in WORDS.items():
        rows = [(peer, found[peer][work]) for peer in PEERS]
        if work == "prefetch 500":
            rows.insert(1, ("pika, ack per 50", found["pika"][PER_50]))
        for peer, theirs in rows:
            budget = PUBLISH_CPU if (work, peer) == ("publish", "pika") else None
            figures += pair(f"{broker}: {words}", found[OURS][work], peer, theirs, cpu_at_most=budget)
    return figures


def _sized(where: str, consume: str, found: dict[str, Timings]) -> list[Figure]:
    ours, bare = found[OURS], found["pika"]
    return [
        *pair(f"{where}: {WORDS['publish']}", ours["publish"], "pika", bare["publish"]),
        *pair(f"{where}: consume, {consume}", ours[consume], "pika", bare[consume]),
    ]
