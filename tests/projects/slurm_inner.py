"""Trials that note on which node of Slurm's they ran."""

import os
import time
from pathlib import Path

from sacred import Experiment

ex = Experiment("slurm_inner")


@ex.config
def config():
    k = 0
    sleep_s = 0.5
    ends_folder = None  # where trials note that they came to their end


@ex.main
def main(k, sleep_s, ends_folder, _run):
    _run.info["slurm"] = {
        "node": os.environ["SLURMD_NODENAME"],
        "raylet": os.getppid(),
        "token": "RAY_AUTH_TOKEN" in os.environ,
    }
    time.sleep(sleep_s)
    if ends_folder:
        with (Path(ends_folder) / str(k)).open("a") as file:
            file.write("at the end\n")
    return k
