"""The benchmarks can be started, and judge by their budgets."""

import subprocess
import sys
from pathlib import Path

from benchmarks.__main__ import NAMES
from benchmarks.figures import figure, percentile, short

ROOT = Path(__file__).parents[2]
# Not the one of confluent-kafka: only `make bench` installs that.
CLIENTS = (
    "mqdash_client",
    "pika_client",
    "aio_pika_client",
    "kafka_mqdash",
    "kafka_aiokafka",
    "redis_mqdash",
    "redis_bare",
    "redis_native",
)


def test_every_benchmark_and_client_can_be_imported() -> None:
    modules = [*NAMES, *(f"clients.{name}" for name in CLIENTS)]
    code = "; ".join(f"import benchmarks.{name}" for name in modules)
    code += f"; assert all(callable(getattr(benchmarks, name).run) for name in {list(NAMES)})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_figure_is_judged_by_its_own_budget() -> None:
    assert figure("first frame", 300, "ms", beside=200, ratio_at_most=2).ok is True
    assert figure("first frame", 500, "ms", beside=200, ratio_at_most=2).ok is False
    assert figure("bytes", 501, "KiB/s", beside=10, at_most=500).ok is False
    assert figure("frames", 26.9, "/s", at_least=27).ok is False
    assert figure("rate", 299, "k/s", beside=100, ratio_at_least=3).ok is False
    assert figure("rate", 300, "k/s", beside=100, ratio_at_least=3).ok is True
    assert figure("CPU", 40, "%").ok is None


def test_percentiles_and_digits() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert (short(12345.6), short(12.34), short(1.234), short(None)) == ("12,346", "12.3", "1.23", "–")
