import asyncio

import pytest

from tests.support import until


async def test_until_returns_the_first_true_value() -> None:
    values = iter([0, None, 7, 8])
    assert await until(lambda: next(values)) == 7


async def test_until_awaits_an_async_condition() -> None:
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(done.set)

    async def is_done() -> bool:
        return done.is_set()

    assert await until(is_done)


async def test_until_says_what_it_waited_for_and_what_it_saw() -> None:
    with pytest.raises(AssertionError, match=r"not true after 0.01 s: a worker to start \(last value: 0\)"):
        await until(lambda: 0, timeout_s=0.01, what="a worker to start")


async def test_until_names_a_built_in_condition_too() -> None:
    empty: list[int] = []
    with pytest.raises(AssertionError, match="built-in method copy"):
        await until(empty.copy, timeout_s=0.01)
