"""`python -m mqdash`: the same as the `mqdash` command."""

import sys


def run() -> None:
    """Run the command line and exit with its code; imported here so that importing this module costs nothing."""
    from mqdash.cli import main

    sys.exit(main())


if __name__ == "__main__":
    run()
