"""The command line: one small module per command. Without a command it opens the dashboard.

Exit codes: 0 fine, 1 something was lost or crashed, 2 bad input or no terminal, 128 + n ended by signal n.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mqdash.errors import MqdashError

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = """\
usage: mqdash [URL… | @PROFILE…] [--write]         the dashboard; without a URL on the live lab
       mqdash lab [SCENARIO] [URL]                 one scenario, embedded or on a real broker
       mqdash lab SCENARIO [URL] --for 10s --json  the same without a screen
       mqdash COMMAND --help

brokers: amqp[s]://user:password@host/vhost?management=http://host:port   kafka[s]://host1,host2
         redis[s]://user:password@host   embedded://rabbitmq|kafka|redis

  --write          allow writing to brokers that are not on this machine (read-only otherwise)
  --config FILE    the configuration file
  --version        print the version
  --help           this text
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run mqdash and return its exit code; bad input is one sentence on stderr and 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["lab"]:
            from mqdash.cli import lab

            return lab.run(given[1:])
        if {"-h", "--help"} & set(given):
            sys.stdout.write(USAGE)
            return 0
        if "--version" in given:
            from mqdash import __version__

            sys.stdout.write(f"mqdash {__version__}\n")
            return 0
        from mqdash.cli import dashboard

        return dashboard.run(given)
    except MqdashError as error:
        return _refuse(error)
    except KeyboardInterrupt:
        return 130


def _refuse(error: MqdashError) -> int:
    from mqdash.logs import without_logins
    from mqdash.safe_text import safe_text

    # A URL given in the wrong place is repeated by argparse, with its password.
    sys.stderr.write(f"mqdash: {safe_text(without_logins(str(error)), multiline=True)}\n")
    return 2
