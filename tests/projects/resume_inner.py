"""Trials that take a moment, fail where they are told to, and can have checkpoints."""

import os
import signal
import time
from pathlib import Path

from sacred import Experiment

from sacred_ray_ingredient import Checkpoints

ex = Experiment("resume_inner")
checkpoints = Checkpoints(ex)


@ex.config
def config():
    x = 0.5
    k = 0
    scale = 1
    scaled = 10 * scale  # derived
    sleep_s = 0.4
    epochs = 1
    fail_folder = None  # a file of this name and a trial's k makes the trial fail
    kill_folder = None  # a file with a trial's k for a name has the epoch in which it is killed
    starts_folder = None  # where trials note the epoch that they begin with


def die_once(file, epoch):
    if epoch == int(file.read_text()):
        file.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


@ex.main
def main(x, k, scaled, sleep_s, epochs, fail_folder, kill_folder, starts_folder, _run):
    folder = checkpoints.restore()
    first = int((folder / "epoch").read_text()) + 1 if folder else 1
    if starts_folder:
        with (Path(starts_folder) / f"{k}").open("a") as file:
            file.write(f"{first}\n")
    for epoch in range(first, epochs + 1):
        time.sleep(sleep_s)
        if fail_folder and (Path(fail_folder) / str(k)).exists():
            raise RuntimeError(f"told to fail at {k}")
        if kill_folder and (Path(kill_folder) / str(k)).exists():
            die_once(Path(kill_folder) / str(k), epoch)
        if epochs > 1:
            own = Path(starts_folder) / f"state-{k}"
            own.mkdir(exist_ok=True)
            (own / "epoch").write_text(str(epoch))
            checkpoints.save(own)
        _run.log_scalar("height", epoch + x + k + scaled, epoch)
    return x + k + scaled
