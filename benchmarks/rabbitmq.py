"""Our RabbitMQ adapter beside bare pika and aio-pika: rate and CPU per message, on each RabbitMQ there is.

Every side runs in a process of its own, in shuffled order inside each round, on the same kind of queue (classic, transient),
with the same body (200 bytes), properties (transient) and window (1,000 unconfirmed). Publishing ends at the last confirm;
consuming starts with the first delivery of a filled queue. CPU per message is far steadier than the rate; under 1.2x is equal.
"""

import random
import secrets
import subprocess
import sys

import msgspec

from benchmarks.clients.task import Task, Timing
from benchmarks.figures import Figure, Options, figure, median
from tests.harness.targets import targets

OURS, PEERS = "mqdash_client", {"pika_client": "pika", "aio_pika_client": "aio-pika"}
MESSAGES, MESSAGES_SINGLE = 12_000, 2_000
TIMEOUT_S = 60.0
WORDS = {
    "publish": "publish + confirm, 1,000 open",
    "prefetch 500": "consume, prefetch 500",
    "prefetch 50": "consume, prefetch 50",
    "prefetch 1": "consume, prefetch 1",
}
PER_50 = "prefetch 500, ack per 50"


def run(options: Options) -> list[Figure]:
    """All brokers of the harness that are up."""
    figures: list[Figure] = []
    for broker in targets("rabbitmq"):
        if not broker.available:
            options.tell(f"  {broker.name} is not measured: {broker.reason}")
            continue
        figures += _compared(broker.name, _measured(broker.url, options.rounds))
    return figures


def _measured(url: str, rounds: int) -> dict[str, dict[str, list[Timing]]]:
    """Timings by client and work."""
    clients = [OURS, *PEERS]
    found: dict[str, dict[str, list[Timing]]] = {client: {} for client in clients}
    rng = random.Random(1)
    for _ in range(rounds):
        rng.shuffle(clients)
        for client in clients:
            for work, timing in _client(client, url).items():
                found[client].setdefault(work, []).append(timing)
    return found


def _client(client: str, url: str) -> dict[str, Timing]:
    task = Task(url, f"bench.{secrets.token_hex(4)}", MESSAGES, MESSAGES_SINGLE)
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.clients.{client}", task.url, task.queue, str(task.n), str(task.n_single)],
        capture_output=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{client} failed:\n{done.stderr.decode()[-2000:]}")
    return msgspec.json.decode(done.stdout, type=dict[str, Timing])


def _compared(broker: str, found: dict[str, dict[str, list[Timing]]]) -> list[Figure]:
    figures: list[Figure] = []
    ours = found[OURS]
    for work, words in WORDS.items():
        rows = [(peer, found[client][work]) for client, peer in PEERS.items()]
        if work == "prefetch 500":
            rows.insert(1, ("pika, ack per 50", found["pika_client"][PER_50]))
        for peer, theirs in rows:
            for what, unit, of in (("", "k/s", _rate), (", CPU", "µs", _cpu)):
                value, beside = median([of(timing) for timing in ours[work]]), median([of(timing) for timing in theirs])
                figures.append(figure(f"{broker}: {words}{what}", value, unit, reference=peer, beside=beside))
    return figures


def _rate(timing: Timing) -> float:
    return timing.k_per_s


def _cpu(timing: Timing) -> float:
    return timing.cpu_us
