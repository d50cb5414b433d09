"""An experiment whose trials meet each of the fates that a trial can meet, and say a last word."""

import os
import signal
import sys
import time

from sacred import Experiment

status_ex = Experiment("status_ex")


@status_ex.config
def config():
    ending = "return"
    point = 0
    marker = ""  # a file, with the point behind its name: an attempt that finds it returns
    pids = ""  # a folder: the trial notes its process there
    gigabytes = 6.0
    seconds = 60.0


@status_ex.main
def run(ending, point, marker, pids, gigabytes, seconds, _run):
    _run.log_scalar("begun", 1)
    if marker:
        ending = "return" if os.path.exists(f"{marker}{point}") else ending
        open(f"{marker}{point}", "w").close()
    print("words at the beginning")
    time.sleep(3 if ending in _SPEECHLESS else 0)  # as long as output may wait for its heartbeat
    print("the last line")
    if pids:
        with open(os.path.join(pids, f"{point}"), "a") as file:
            file.write(f"{os.getpid()}\n")
    size = gigabytes if ending == "allocate" else seconds
    return _ENDINGS[ending](point, size, _run)


def _return(point, size, _run):
    return point


def _raise(point, size, _run):
    raise ValueError(f"point {point} is a bad one")


def _exit(point, size, _run):
    sys.exit(3)


def _leave(point, size, _run):
    os._exit(4)


def _kill(point, size, _run):
    os.kill(os.getpid(), signal.SIGKILL)


def _allocate(point, size, _run):
    kept = []
    for _ in range(round(size * 64)):
        kept.append(b"x" * 2**24)
        time.sleep(0.02)
    time.sleep(60)


def _log(point, size, _run):
    for step in range(round(size * 10)):
        _run.log_scalar("height", step, step)
        time.sleep(0.1)
    return point


def _loop(point, size, _run):
    end = time.monotonic() + size
    while time.monotonic() < end:
        pass


def _compiled(point, size, _run):
    time.sleep(size)  # no exception interrupts it


_ENDINGS = {
    "return": _return,
    "raise": _raise,
    "exit": _exit,
    "leave": _leave,
    "kill": _kill,
    "allocate": _allocate,
    "log": _log,
    "loop": _loop,
    "compiled": _compiled,
}
# Whose process dies without a chance to write what it has printed last.
_SPEECHLESS = ("kill", "leave", "allocate")
