"""An experiment that notes by itself what it has logged, for tests that take away what records it.

Each execution writes a side file below the folder ``notes``: one line per event, after the event
counts as logged, with one write each, so that the file tells the truth whatever is killed when.
"""

import json
import os
import random
import time
import uuid

from sacred import Experiment

fault_ex = Experiment("fault_ex")


@fault_ex.config
def config():
    point = 0
    steps = 10
    pause_s = 0.1
    notes = ""  # a folder


class _Notes:
    """The side file of one execution of the main function."""

    def __init__(self, folder):
        self.execution = uuid.uuid4().hex
        name = os.path.join(folder, f"{os.getpid()}-{self.execution}.jsonl")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(name, flags, 0o600) if folder else None

    def write(self, what, **values):
        if self._file is not None:
            line = json.dumps({"what": what, "mono": time.monotonic(), **values})
            os.write(self._file, line.encode() + b"\n")

    def close(self):
        if self._file is not None:
            os.close(self._file)


@fault_ex.main
def run(point, steps, pause_s, notes, _run):
    told = _Notes(notes)
    sweep = _run.meta_info.get("sweep", {})
    place = {key: sweep.get(key) for key in ("sweep_id", "trial_index", "attempt", "segment")}
    told.write("begin", execution=told.execution, pid=os.getpid(), **place)
    # Not the random state that Sacred seeds: two executions never log the same values.
    values = random.Random(told.execution)
    try:
        line = f"execution {told.execution} of point {point} begins"
        print(line)
        told.write("line", text=line)
        for step in range(steps):
            for metric in ("height", "cost"):
                value = values.random()
                _run.log_scalar(metric, value, step)
                told.write("scalar", metric=metric, step=step, value=value)
            line = f"step {step} of {told.execution}"
            print(line)
            told.write("line", text=line)
            time.sleep(pause_s)
    except BaseException as error:
        told.write("raised", error=type(error).__name__)
        raise
    else:
        told.write("end", result=point)
        return point
    finally:
        told.close()
