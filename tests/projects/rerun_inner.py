"""Experiments to be run again: one follows its config, the others what they should not."""

import itertools
from pathlib import Path

import numpy as np
from sacred import Experiment

follows_config = Experiment("follows_config", save_git_info=False)
reads_number = Experiment("reads_number", save_git_info=False)
fails = Experiment("fails", save_git_info=False)
goes_on = Experiment("goes_on", save_git_info=False)


@follows_config.config
def follows_config_entries():
    rate = 0.1
    doubled = rate * 2
    sizes = np.arange(3)
    nested = {"deep": {"entry": 1}}


@follows_config.command
def other(_run):
    return "other"


@follows_config.main
def draw(rate, doubled, sizes, nested, _rnd, _run):
    for step in range(3):
        _run.log_scalar("loss", rate / (step + 1), 10 * step)
        _run.log_scalar("noise", float(_rnd.normal()))
    _run.log_scalar("endless", float("inf"))
    return {"sum": doubled + _rnd.random(), "sizes": int(sizes.sum()), **nested}


@reads_number.config
def reads_number_entries():
    point = 1


@reads_number.main
def read(point, _run):
    number = float(Path("number.txt").read_text())
    _run.log_scalar("number", number)
    return point * number


@fails.config
def fails_entries():
    message = "no such thing"


@fails.main
def fail(message, _run):
    _run.log_scalar("loss", 1.0)
    raise ValueError(message)


@goes_on.config
def goes_on_entries():
    first = 0


@goes_on.main
def go_on(first, _run):
    for step in itertools.count(first):
        _run.log_scalar("height", step / 3, step)
        _run.log_scalar("cost", -step, step)
        if step > 10_000:
            raise RuntimeError("nobody has ended it")
