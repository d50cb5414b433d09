"""An experiment whose metric rises with its steps, and which can go on where it stopped."""

import tempfile
import time
from pathlib import Path

from sacred import Experiment

from sacred_ray_ingredient import Checkpoints

curve_ex = Experiment("curve")
checkpoints = Checkpoints(curve_ex)


@curve_ex.config
def config():
    quality = 1.0
    optimizer = "sgd"
    momentum = 0.9
    beta = {"one": 0.5}
    steps = 8
    pause_s = 0.0
    hang_s = 0.0
    total = quality * steps


@curve_ex.named_config
def careful():
    momentum = 0.1
    optimizer = "adam"


@curve_ex.main
def climb(quality, momentum, steps, pause_s, hang_s, _run):
    height, first = 0.0, 1
    folder = checkpoints.restore()
    if folder is not None:
        height, first = (float(word) for word in (folder / "state").read_text().split())
    print(f"from step {int(first)} with quality {quality!r} momentum {momentum!r}")
    for step in range(int(first), steps + 1):
        height += quality
        with tempfile.TemporaryDirectory() as own:
            (Path(own) / "state").write_text(f"{height} {step + 1}")
            checkpoints.save(own)
        _run.log_scalar("height", height, step)
        _run.log_scalar("cost", quality**2 + momentum, step)
        time.sleep(pause_s)
    if hang_s:
        time.sleep(hang_s)
    print("at the top")
    return {"summit": height, "steps_done": steps}
