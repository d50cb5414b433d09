"""An inner experiment for the unit tests: derived and nested entries, an ingredient, metrics."""

from sacred import Experiment, Ingredient

unit_data = Ingredient("unit_data", save_git_info=False)


@unit_data.config
def data_config():
    size = 3
    doubled = size * 2


@unit_data.named_config
def big():
    size = 100


@unit_data.capture
def amount(doubled):
    return doubled


unit_ex = Experiment("unit_ex", ingredients=[unit_data], save_git_info=False)


@unit_ex.config
def config():
    base_lr = 0.5
    lr = base_lr * 2
    optimizer = {"name": "sgd", "momentum": 0.9}
    extra = {}
    env_name = "a"


@unit_ex.named_config
def fast():
    base_lr = 4.0


@unit_ex.main
def train(lr, optimizer, extra, env_name, steps=2, _run=None):
    for step in range(steps):
        _run.log_scalar("loss", lr / (step + 1), step)
    return lr + amount()
