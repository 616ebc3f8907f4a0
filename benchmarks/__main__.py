"""`python -m benchmarks [NAME…]`: figures of mqdash beside those of peers, measured in the same run."""

import argparse
import importlib
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, cast

import msgspec

from benchmarks.figures import Figure, Options, table

NAMES = {
    "first_paint": "from the command to the first painted frame and to a moving lab",
    "key_to_text": "from a key to its text on the terminal, quiet and under load",
    "three_brokers": "keys, frames and bytes with a lab on each of three real brokers",
    "terminal_bytes": "bytes, frames and CPU of the moving dashboard, by size",
    "rabbitmq": "publish with confirms and consume, beside pika and aio-pika",
    "kafka": "publish with receipts, bursts and consume, beside aiokafka and confluent-kafka",
    "redis": "streams and channels, beside redis-py and redis-benchmark",
    "store": "events in, views out",
    "drawing": "a frame of the dashboard, without the terminal",
}

BUSY_SHARE = 0.75
"""From this load per core on, times are those of the other work."""


class Benchmark(Protocol):
    """What each module gives."""

    def run(self, options: Options) -> list[Figure]:
        """Measure."""
        ...


def main() -> int:
    listed = "\n".join(f"  {name:<16}{text}" for name, text in NAMES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=f"{__doc__}\n\n{listed}", formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each side, interleaved (default 5)")
    parser.add_argument("--rate", type=int, default=5000, help="messages a second behind the screen (default 5000)")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON on standard output")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    out = sys.stderr if chosen.json else sys.stdout
    options = Options(
        rounds=max(1, chosen.rounds),
        rate_per_s=max(1, chosen.rate),
        tell=lambda text: print(text, file=out, flush=True),
    )
    machine = where()
    options.tell(" · ".join(f"{name} {value}" for name, value in machine.items()))
    cores = os.cpu_count() or 1
    if os.getloadavg()[0] > BUSY_SHARE * cores:
        options.tell("the machine is busy with other work: wait, or believe ratios of CPU only")
    results: dict[str, list[Figure]] = {}
    for name in chosen.names or NAMES:
        options.tell(f"\n{name}: {NAMES[name]}")
        started_s = time.monotonic()
        benchmark = cast("Benchmark", importlib.import_module(f"benchmarks.{name}"))
        results[name] = benchmark.run(options)
        options.tell(table(results[name]))
        options.tell(f"  ({time.monotonic() - started_s:.0f} s)")
    if chosen.json:
        print(msgspec.json.encode({"machine": machine, "rounds": options.rounds, "results": results}).decode())
    return 0


def where() -> dict[str, str]:
    """Date, commit, machine and how busy it is: figures mean nothing without."""
    root = Path(__file__).parent.parent
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    models = (line for line in _cpu_lines() if line.startswith("model name"))
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": git.stdout.strip() or "unknown",
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "cpu": next(models, ": " + platform.machine()).partition(": ")[2],
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
