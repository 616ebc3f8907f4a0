"""redis-benchmark, the C reference: one connection, pipelines of 100 commands. Also the source of what subscribers receive."""

import asyncio
import resource
import subprocess

from benchmarks.clients.task import Stopwatch, Task, Timing

BATCH = 100


def arguments(job: Task, *command: str) -> list[str]:
    """The command line that sends `command` and the body once per message."""
    options = ["-u", job.url, "-n", str(job.n), "-c", "1", "-P", str(BATCH), "-q"]
    return ["redis-benchmark", *options, *command, job.body.decode()]


async def publisher(job: Task) -> asyncio.subprocess.Process:
    """Publish all on the channel, faster than anybody listens."""
    argv = arguments(job, "PUBLISH", job.queue)
    return await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.DEVNULL)


def measured(job: Task) -> dict[str, Timing]:
    """Publishing to a stream and to a channel; its start is in the wall time and in the CPU."""
    timings = {}
    for work, command in (("publish", ("XADD", job.queue, "*", "body")), ("channel publish", ("PUBLISH", job.queue))):
        watch = Stopwatch(resource.RUSAGE_CHILDREN)
        subprocess.run(arguments(job, *command), check=True, stdout=subprocess.DEVNULL)
        timings[work] = watch.stop(job.n)
    subprocess.run(["redis-cli", "-u", job.url, "DEL", job.queue], check=True, stdout=subprocess.DEVNULL)
    return timings
