"""An inner experiment with a library that not every node has."""

import os
import time
from pathlib import Path

from sacred import Experiment

if os.environ.get("LACKS_THE_LIBRARY"):
    raise ModuleNotFoundError("No module named 'the_library'")

lacking_ex = Experiment("lacking_ex")


@lacking_ex.config
def config():
    point = 0
    wait_in = None  # folder in which trials wait for a file called "go"


@lacking_ex.main
def run(point, wait_in):
    if wait_in is not None:
        Path(wait_in, f"begun-{point}").touch()
        while not Path(wait_in, "go").exists():
            time.sleep(0.1)
    return point
