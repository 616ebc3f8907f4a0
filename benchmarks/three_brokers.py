"""The dashboard with a lab at work on a real RabbitMQ, Kafka and Redis at once: keys, frames and bytes, beside the bare app.

Producers, workers and the screen share one process, as in `mqdash lab`. `python -m benchmarks.three_brokers SCENARIO=URL …`
is that program.
"""

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Figure, Options, figure, median
from benchmarks.key_to_text import BUDGET_LOADED, Program, bare_app, figures_of, sampled
from benchmarks.programs import lab_file
from benchmarks.terminal_bytes import BUDGET_KIB_PER_S
from mqdash import config as configuration
from mqdash.cli.dashboard import full_screen
from mqdash.runtime import lab_target
from tests.harness.targets import target

RATE_PER_S = 2000
"""On each of the three."""
BROKERS = {"rabbitmq-4": "load.toml", "kafka-4": "load_kafka.toml", "redis-8": "load_redis.toml"}


def run(options: Options) -> list[Figure]:
    """The dashboard beside the bare app; nothing where one of the brokers is missing."""
    missing = [f"{name}: {target(name).reason}" for name in BROKERS if not target(name).available]
    if missing:
        options.tell(f"  not measured: {'; '.join(missing)}")
        return []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        labs = [f"{lab_file(home, RATE_PER_S, name)}={target(broker).url}" for broker, name in BROKERS.items()]
        name = f"mqdash, {RATE_PER_S}/s on each of {', '.join(BROKERS)}"
        argv = [sys.executable, "-m", "benchmarks.three_brokers", *labs]
        programs = [bare_app(), Program(name=name, argv=argv, ratio=BUDGET_LOADED)]
        samples = sampled(programs, home, options)
        bare = samples[programs[0].name]
        figures = [one for program in programs for one in figures_of(program, samples[program.name], bare)]
        kib_per_s = median(samples[name].kib_per_s)
        return [*figures, figure(f"{name}: bytes", kib_per_s, "KiB/s", at_most=BUDGET_KIB_PER_S)]


def main() -> int:
    config = configuration.load(flags={}, env=os.environ)
    targets = []
    for one in sys.argv[1:]:
        scenario, _, url = one.partition("=")
        targets.append(lab_target(scenario, url, config, os.environ, run="bench", seed=7))
    return full_screen(targets, config)


if __name__ == "__main__":
    sys.exit(main())
