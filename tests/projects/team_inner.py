"""An experiment that starts two Ray actors, each with a processor of its own, and asks them."""

import ray
from sacred import Experiment

team_ex = Experiment("team")


@team_ex.config
def config():
    size = 2
    number = 1


class Member:
    def square(self, number):
        context = ray.get_runtime_context()
        return number**2, context.get_node_id(), context.get_placement_group_id()


@team_ex.main
def work(size, number, _run):
    members = [ray.remote(num_cpus=1)(Member).remote() for _ in range(size)]
    answers = ray.get([member.square.remote(number) for member in members], timeout=60)
    _run.info["nodes"] = sorted({node for _, node, _ in answers})
    _run.info["groups"] = len({group for _, _, group in answers})
    return sum(value for value, _, _ in answers)
