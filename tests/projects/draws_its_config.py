"""An inner experiment whose configuration differs each time, with its outer experiment."""

import os
import random

from sacred import Experiment
from sacred.utils import SacredInterrupt

from sacred_ray_ingredient import make_outer

drawn_ex = Experiment("drawn_ex")


class Pruned(SacredInterrupt):
    STATUS = "INTERRUPTED"


@drawn_ex.config
def config():
    point = 0
    pid = os.getpid()
    noise = random.SystemRandom().random()
    weight = 1


@drawn_ex.named_config
def by_point():
    point = 3
    weight = point * 10


@drawn_ex.main
def run(point, weight):
    if point < 0:
        raise Pruned()
    return weight


outer = make_outer("draws_its_config", drawn_ex)

if __name__ == "__main__":
    outer.run_commandline()
