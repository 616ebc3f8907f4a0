"""From a key written to the terminal until its text is read back: quiet and under load, beside a bare app of 120 dots.

Typed letters go into the command line (`:`), a stock Input on both sides. A letter counts once the bytes since its key
hold all letters typed so far: three and more of `xzqj` in a row occur nowhere else. Opening the line counts once its hint
is there (its first letter is under the cursor).
"""

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks import dots_app
from benchmarks.figures import Figure, Options, figure, median, percentile
from benchmarks.programs import DOTS, lab
from benchmarks.screen import shown_rate_per_s
from benchmarks.terminal import FRAME, Ended, Terminal
from tests.harness.targets import target

SIZE = (160, 45)
OPENINGS, LETTERS, UNTIMED = 4, 10, 2
SETTLE_S, COUNT_S = 2.0, 1.0
PAUSE_S = (0.03, 0.09)
"""Between the text of one key and the next key: any phase of a frame."""
ESCAPE_S = 0.35
HINT = "scale W 5"
RABBITMQ = "rabbitmq-4"
BUDGET_QUIET, BUDGET_LOADED = 1.5, 3.0
LEAST_FPS = 27.0


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What is put into the terminal; `ready` and `hint` are texts it shows, `moves` whether frames are counted.

    `leave`: the key that ends it.
    """

    name: str
    argv: list[str]
    ready: str = "Producers"
    hint: str = HINT
    ratio: float | None = None
    moves: bool = True
    leave: str = "q"


class Samples(msgspec.Struct):
    """Of one program, over all rounds; times in ms."""

    letters_ms: list[float] = []
    openings_ms: list[float] = []
    fps: list[float] = []
    kib_per_s: list[float] = []
    rates_per_s: list[float] = []
    missed: int = 0


SUMMARIES: dict[str, Callable[[Samples], float]] = {
    "letter, median": lambda samples: median(samples.letters_ms),
    "letter, p99": lambda samples: percentile(samples.letters_ms, 0.99),
    "line opens, median": lambda samples: median(samples.openings_ms),
}


def run(options: Options) -> list[Figure]:
    """Every program, beside the bare one."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        programs = _programs(home, options)
        samples = sampled(programs, home, options)
        bare = samples[programs[0].name]
        figures: list[Figure] = []
        for program in programs:
            figures += figures_of(program, samples[program.name], bare)
        return figures


def sampled(programs: Sequence[Program], home: Path, options: Options) -> dict[str, Samples]:
    """By program name; each round starts every program anew, in shuffled order."""
    samples = {program.name: Samples() for program in programs}
    order, rng = list(programs), random.Random(1)
    for _ in range(options.rounds):
        rng.shuffle(order)
        for program in order:
            measure(program, samples[program.name], home, rng)
    return samples


def bare_app() -> Program:
    """What the others stand beside."""
    return Program(name="bare app, 120 dots", argv=DOTS, ready="●", hint=dots_app.HINT.split()[-1], leave="\x11")


def _programs(home: Path, options: Options) -> list[Program]:
    rate = options.rate_per_s
    programs = [
        bare_app(),
        Program(name="mqdash, 0 msgs/s", argv=lab(home, 0), ratio=BUDGET_QUIET, moves=False),
        Program(name=f"mqdash, {rate}/s embedded", argv=lab(home, rate), ratio=BUDGET_LOADED),
    ]
    real = target(RABBITMQ)
    if real.available:
        argv = lab(home, rate, real.url)
        programs.append(Program(name=f"mqdash, {rate}/s {RABBITMQ}", argv=argv, ratio=BUDGET_LOADED))
    else:
        options.tell(f"  {RABBITMQ} is not measured: {real.reason}")
    return programs


def measure(program: Program, samples: Samples, home: Path, rng: random.Random) -> None:
    """One start of the program: frames and bytes, then keys."""
    with Terminal(program.argv, width=SIZE[0], height=SIZE[1], home=home) as terminal:
        terminal.read_until(terminal.shows(program.ready), f"{program.ready!r}")
        terminal.read_for(SETTLE_S)
        frames, octets, since_s = terminal.output.count(FRAME), len(terminal.output), time.perf_counter()
        terminal.read_for(COUNT_S)
        passed_s = time.perf_counter() - since_s
        samples.fps.append((terminal.output.count(FRAME) - frames) / passed_s)
        samples.kib_per_s.append((len(terminal.output) - octets) / 1024 / passed_s)
        for _ in range(OPENINGS):
            try:
                samples.openings_ms.append(_press(terminal, ":", program.hint))
                samples.letters_ms += _letters(terminal, rng)
            except Ended:
                samples.missed += 1
            terminal.type("\x1b")
            terminal.read_for(ESCAPE_S)
        shown = shown_rate_per_s(bytes(terminal.output), *SIZE)
        if shown is not None:
            samples.rates_per_s.append(shown)
        terminal.leave(program.leave)


def _letters(terminal: Terminal, rng: random.Random) -> list[float]:
    typed, times_ms = "", []
    for at in range(UNTIMED + LETTERS):
        terminal.read_for(rng.uniform(*PAUSE_S))
        typed += rng.choice("xzqj")
        took_ms = _press(terminal, typed[-1], typed)
        if at >= UNTIMED:
            times_ms.append(took_ms)
    return times_ms


def _press(terminal: Terminal, key: str, text: str) -> float:
    """Milliseconds from the key to its text."""
    since = len(terminal.output)
    pressed_s = time.perf_counter()
    terminal.type(key)
    return (terminal.read_until(terminal.shows(text, since), repr(text), timeout_s=5.0) - pressed_s) * 1000


def figures_of(program: Program, samples: Samples, bare: Samples) -> list[Figure]:
    """The summaries of a program, beside those of the bare app."""
    if not samples.letters_ms:
        raise Ended(f"{program.name}: no key was answered")
    figures = []
    for what, of in SUMMARIES.items():
        name, value_ms = f"{program.name}: {what}", of(samples)
        if samples is bare:
            figures.append(figure(name, value_ms, "ms"))
        else:
            beside_ms, limit = of(bare), program.ratio
            figures.append(figure(name, value_ms, "ms", reference="bare app", beside=beside_ms, ratio_at_most=limit))
    figures.append(figure(f"{program.name}: keys", len(samples.letters_ms), "", note=f"{samples.missed} not answered"))
    if program.moves:
        least = None if samples is bare else LEAST_FPS
        figures.append(figure(f"{program.name}: frames", median(samples.fps), "/s", at_least=least))
        if samples.rates_per_s:
            figures.append(figure(f"{program.name}: msgs/s in the header", median(samples.rates_per_s), "/s"))
    return figures
