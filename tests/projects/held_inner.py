"""Trials that note where they begin, keep a checkpoint, and wait until they are let go."""

import time
from pathlib import Path

from sacred import Experiment

from sacred_ray_ingredient import Checkpoints

held_ex = Experiment("held")
checkpoints = Checkpoints(held_ex)


@held_ex.config
def config():
    point = 0
    folder = ""  # where the trials and the test tell each other something
    free = 0  # trials with smaller points do not wait


@held_ex.main
def hold(point, folder, free, seed, _run):
    with (Path(folder) / f"begun-{point}").open("a") as file:
        file.write(f"{seed}\n")
    kept = checkpoints.restore()
    print(f"point {point} begins {'anew' if kept is None else 'at its checkpoint'}")
    own = Path(folder) / f"state-{point}"
    own.mkdir(exist_ok=True)
    (own / "state").write_text("kept")
    _run.log_scalar("height", point)
    checkpoints.save(own)
    _run.log_scalar("height", point)
    gates = [Path(folder) / "go", Path(folder) / f"go-{point}"]
    while point >= free and not any(gate.exists() for gate in gates):
        time.sleep(0.05)
    with (Path(folder) / f"ended-{point}").open("a") as file:
        file.write(f"{seed}\n")
    return point
