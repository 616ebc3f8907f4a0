"""The programs that are put into a terminal: mqdash in several states of work, and the bare app beside it."""

import sys
from pathlib import Path

MQDASH = [sys.executable, "-m", "mqdash"]
DOTS = [sys.executable, "-m", "benchmarks.dots_app"]
LOADS = Path(__file__).parent


def lab_file(folder: Path, rate_per_s: int, name: str = "load.toml") -> Path:
    """A load scenario at that rate (0: its producer stands still)."""
    path = folder / f"{name.removesuffix('.toml')}{rate_per_s}.toml"
    text = (LOADS / name).read_text(encoding="utf-8").replace("rate_per_s = 5000", f"rate_per_s = {max(rate_per_s, 1)}")
    path.write_text(text if rate_per_s else text.replace("on = true", "on = false"), encoding="utf-8")
    return path


def lab(folder: Path, rate_per_s: int, url: str = "") -> list[str]:
    """`mqdash lab` on the load scenario; on a real broker under a run of its own."""
    where = [url, "--run", "bench"] if url else []
    return [*MQDASH, "lab", str(lab_file(folder, rate_per_s)), *where, "--seed", "7"]
