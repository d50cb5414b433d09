"""An experiment recorded by the package's observer without a sweep, which notes what it logged.

It says on standard output how long the slowest call of ``log_scalar`` took, how long the end of
the run took, and which commands went to the database.
"""

import os
import sys
import time

import pymongo.monitoring
from sacred import Experiment

from sacred_ray_ingredient import observe

alone_ex = Experiment("alone_ex", save_git_info=False)


class _Counter(pymongo.monitoring.CommandListener):
    """Counts the commands of every client that is made after its registration."""

    def __init__(self):
        self.names = []

    def started(self, event):
        self.names.append(event.command_name)

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass


def _clock():
    """Return the time without that in which this thread waited for a processor."""
    try:
        with open("/proc/thread-self/schedstat") as file:
            waited = int(file.read().split()[1])
    except OSError:
        waited = 0
    return time.monotonic() - waited * 1e-9


@alone_ex.config
def config():
    scalars = 20
    seconds = 1.0
    notes = ""  # a file: gets a line for each scalar once log_scalar has returned


@alone_ex.main
def run(scalars, seconds, notes, _run):
    file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if notes else None
    slowest = 0.0
    begun = time.monotonic()
    for step in range(scalars):
        before = _clock()
        _run.log_scalar("height", step * 0.5, step)
        slowest = max(slowest, _clock() - before)
        if file is not None:
            os.write(file, f"{step}\n".encode())
        left = begun + (step + 1) * seconds / scalars - time.monotonic()
        time.sleep(max(left, 0))
    print("the last line")
    _run.info["slowest"] = slowest
    _run.info["main_ended"] = time.monotonic()
    return scalars


def main(*runs):
    counter = _Counter()
    pymongo.monitoring.register(counter)
    observe(alone_ex, wait_s=float(os.environ.get("WAIT_S", "5")))
    for scalars in runs:
        counter.names.clear()
        seconds = float(os.environ.get("SECONDS", "1"))
        updates = {
            "scalars": int(scalars),
            "seconds": seconds,
            "notes": os.environ.get("NOTES", ""),
        }
        done = alone_ex.run(config_updates=updates)
        ended = time.monotonic() - done.info["main_ended"]
        commands = ",".join(counter.names)
        print(f"slowest={done.info['slowest']:.4f} ended={ended:.3f} commands={commands}")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
