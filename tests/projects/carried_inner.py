"""An experiment that records something of each kind, and waits until it is told to go on."""

import os
import tempfile
import time
from pathlib import Path

from sacred import Experiment

carried_ex = Experiment("carried")
POINTS = 400
ARTIFACT = b"artifact" * 200_000


@carried_ex.config
def config():
    number = 1
    folder = "."


@carried_ex.main
def main(number, folder, _run):
    with tempfile.NamedTemporaryFile() as file:
        file.write(ARTIFACT)
        file.flush()
        _run.add_artifact(file.name, "weights.bin")
    for step in range(POINTS):
        _run.log_scalar("loss", step / 2, step)
    print(f"trial {number} has logged")
    Path(folder, f"pid-{number}-{time.time_ns()}").write_text(str(os.getpid()))
    while not Path(folder, f"go-{number}").exists():
        time.sleep(0.05)
    _run.log_scalar("loss", -1.0, POINTS)
    return number
