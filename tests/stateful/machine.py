"""What all machines share: a loop per run, worlds side by side, comparison after each step."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from tests.stateful.worlds import Seen, World

W = TypeVar("W", bound=World)
AGREE_WITHIN_S = 10.0


class Machine(RuleBasedStateMachine, Generic[W]):
    """`urls`: the embedded broker, then the real one unless the embedded is alone. Rules are written in subclasses.

    `lengths`: how many rules each run that came to its end had.
    """

    urls: ClassVar[tuple[str, ...]] = ()
    lengths: ClassVar[list[int]] = []

    def __init__(self, make: Callable[[str], W]) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._good = True
        self._length = 0
        self.declares_left = 2  # this step is always possible: without a bound it would crowd out the others
        self.worlds = [make(url) for url in self.urls]
        self._run(self._enter())

    @property
    def model(self) -> W:
        """The embedded world: rules choose by what it shows."""
        return self.worlds[0]

    def step(self, act: Callable[[W], Awaitable[Any]]) -> Any:
        """Do it everywhere and compare; returns what it came to."""
        self._length += 1
        return self._run(self._step(act))

    def teardown(self) -> None:
        """What is left is taken and compared, then everything is removed."""
        try:
            if self._good:
                length = self._length
                self.finish()
                self.lengths.append(length)
        finally:
            try:
                self._runner.run(self._leave())
            finally:
                self._runner.close()

    def finish(self) -> None:
        """The last steps: take and settle all that is left, everywhere."""
        raise NotImplementedError

    def _run(self, work: Any) -> Any:
        try:
            return self._runner.run(work)
        except BaseException:
            self._good = False
            raise

    async def _enter(self) -> None:
        for world in self.worlds:
            await world.enter()

    async def _leave(self) -> None:
        for world in self.worlds:
            await world.leave()

    async def _step(self, act: Callable[[W], Awaitable[Any]]) -> Any:
        result = await self._compared(act)
        await self.model.settle()
        expected = await self.model.seen()
        for world in self.worlds[1:]:
            await _until_seen(world, expected)
        for world in self.worlds:
            await world.check()
        return result

    async def _compared(self, act: Callable[[W], Awaitable[Any]]) -> Any:
        results = []
        for world in self.worlds:
            results.append(await act(world))
            assert results[-1] == results[0], f"{world.name} answered\n  {results[-1]}\nembedded\n  {results[0]}"
        return results[0]


async def _until_seen(world: World, expected: Seen) -> None:
    deadline_s = time.monotonic() + AGREE_WITHIN_S
    while (seen := await world.seen()) != expected:
        if time.monotonic() > deadline_s:
            raise AssertionError(f"{world.name} shows\n" + "\n".join(_differences(seen, expected)))
        await world.settle()


def _differences(seen: Seen, expected: Seen) -> Iterator[str]:
    """What shows differently; of lists only where they begin to differ."""
    for key in {**expected, **seen}:
        real, model = seen.get(key), expected.get(key)
        if real == model:
            continue
        if isinstance(real, list) and isinstance(model, list):
            same = next((n for n, (one, other) in enumerate(zip(real, model, strict=False)) if one != other), None)
            at = min(len(real), len(model)) if same is None else same
            real, model = (
                f"{len(real)}, from {at}: {real[at : at + 3]}",
                f"{len(model)}, from {at}: {model[at : at + 3]}",
            )
        yield f"  {key}: {real}\n  {key} embedded: {model}"
