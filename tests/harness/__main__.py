"""`python -m tests.harness up|down|status [NAME...]`: the shared brokers of the tests."""

import argparse
import sys
import time

from tests.harness.brokers import NAMES, State, down, state, up
from tests.harness.process import forget_children
from tests.harness.targets import replaced_names


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harness", description=__doc__)
    parser.add_argument("action", choices=("up", "down", "status"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in NAMES]
    if unknown:
        parser.error(f"no broker is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    names = arguments.names or NAMES
    if arguments.action == "down":
        down(names)
        return 0
    if arguments.action == "status":
        return _print([state(name) for name in names])
    started = time.monotonic()
    wanted = arguments.names or [name for name in NAMES if name not in replaced_names()]
    code = _print(up(wanted))
    forget_children()
    print(f"took {time.monotonic() - started:.1f} s", file=sys.stderr)
    return code


def _print(states: list[State]) -> int:
    for broker in states:
        if broker.instance is None:
            print(f"{broker.name} unavailable: {broker.reason}", file=sys.stderr)
            continue
        print(broker.name, broker.instance.url)
        if broker.instance.management_url is not None:
            print(f"{broker.name}-management", broker.instance.management_url)
    return 0 if all(broker.instance is not None for broker in states) else 1


if __name__ == "__main__":
    sys.exit(main())
