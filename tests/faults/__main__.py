"""``python -m tests.faults``: try the faults and print the table."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence

from sacred_ray_ingredient.settings import ENGINES
from tests.faults.faults import FAULTS, make_row
from tests.faults.sweeps import ENGINE_VARIABLE
from tests.faults.table import as_markdown, as_text, complaints


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suite; the exit code is 1 if something was lost or is wrong."""
    names = [fault.name for fault in FAULTS]
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--full", action="store_true", help="try each as often as the docs say")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--engine", default="auto", choices=ENGINES, help="what runs the trials")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    arguments = parser.parse_args(argv)
    unknown = set(arguments.names) - set(names)
    if unknown:
        parser.error(f"there is no fault {', '.join(sorted(unknown))}; there are: {names}")
    os.environ[ENGINE_VARIABLE] = arguments.engine
    # What the suite has started is ended on the way out, and a signal alone leaves no way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows = []
    for fault in FAULTS:
        chosen = fault.name in arguments.names if arguments.names else fault.quick or arguments.full
        if not chosen:
            continue
        begun = time.monotonic()
        rows.append(make_row(fault, arguments.full))
        word = "skipped" if rows[-1].skipped else "passed" if rows[-1].passed else "FAILED"
        seconds = time.monotonic() - begun
        print(f"{fault.name}: {word} ({seconds:.0f} s)", file=sys.stderr, flush=True)
    print(as_markdown(rows) if arguments.markdown else as_text(rows))
    print(complaints(rows), file=sys.stderr)
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
