"""Inner and outer experiments with observers of their own, as people have them."""

import os

from sacred import Experiment
from sacred.observers import FileStorageObserver, MongoObserver

from sacred_ray_ingredient import make_outer

observed_ex = Experiment("observed_ex")
observed_ex.observers.append(FileStorageObserver("runs"))
if "OTHER_MONGO" in os.environ:
    observed_ex.observers.append(MongoObserver(os.environ["OTHER_MONGO"], db_name="other"))


@observed_ex.config
def config():
    point = 0


@observed_ex.named_config
def tenfold(point):
    weight = point * 10


@observed_ex.main
def run(point, _config):
    return point + _config.get("weight", 0)


outer = make_outer("own_observers", observed_ex)
outer.observers.append(FileStorageObserver("outer_runs"))

if __name__ == "__main__":
    outer.run_commandline()
