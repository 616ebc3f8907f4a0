"""`python -m tests.proof [PART …] [--again]`."""

import sys

from tests.proof.part import prove
from tests.proof.parts import PARTS


def main() -> int:
    """Prove the parts named, or all; 1 when a run was bad, 2 for an unknown part."""
    names = [name for name in sys.argv[1:] if not name.startswith("--")]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"no part called {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    good = [prove(PARTS[name], again="--again" in sys.argv) for name in names or PARTS]
    return 0 if all(good) else 1


sys.exit(main())
