"""An inner experiment whose trials end in all the ways that trials can end."""

import os
import signal
import sys
import time

from sacred import Experiment

faulty_ex = Experiment("faulty_ex")


@faulty_ex.config
def config():
    ending = "return"
    point = 0
    seconds = 0.0
    marker = ""  # a file: an attempt that finds it does not end badly
    inverse = 1 / point if ending == "bad config" else 0


@faulty_ex.main
def run(ending, point, seconds, marker, _run):
    print(f"point {point} begins")
    _run.log_scalar("begun", 1)
    os.environ["LEFT_BY_A_TRIAL"] = str(point)
    os.chdir("/")
    try:
        for tick in range(round(10 * seconds)):
            time.sleep(0.1)
            _run.log_scalar("ticks", tick)
    except Exception:
        print("caught what was not meant for us")
    if marker and os.path.exists(marker):
        ending = "return"
    elif marker:
        open(marker, "w").close()
    return ENDINGS[ending](point)


def _raise(point):
    raise ValueError(f"point {point} is a bad one")


def _kill(point):
    os.kill(os.getpid(), signal.SIGKILL)


def _sleep(point):
    time.sleep(120)


ENDINGS = {
    "return": lambda point: point,
    "nothing": lambda point: None,
    "nan": lambda point: float("nan"),
    "raise": _raise,
    "exit": lambda point: sys.exit(0),
    "kill": _kill,
    "silent": _sleep,
    "dict": lambda point: {"loss": point, "name": "x"},
    "bad config": lambda point: point,
}
