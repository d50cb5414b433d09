"""Some of the workers that `benchmarks.scaling` simulates: threads instead of machines.

Each thread has an address of its own, so that it has what a worker process has: a client with its
connections, and a thread that brings its journals to MongoDB, all of it the package's own. Its
trials are runs of Sacred that sleep and log. What is needed comes as JSON on the standard input,
what was measured goes as JSON to the standard output.
"""

from __future__ import annotations

import collections
import json
import sys
import threading
import time
from collections.abc import Sequence

import pymongo.monitoring
from sacred import Experiment
from sacred.run import Run

from benchmarks.noop import METRIC, POINTS
from sacred_ray_ingredient.host_info import remember_host_info
from sacred_ray_ingredient.mongo import MongoAddress
from sacred_ray_ingredient.record.target import RecordTarget, close_clients

_OPTIONS = {"--force": True, "--capture": "no", "--loglevel": "ERROR"}


class Requests(pymongo.monitoring.CommandListener):
    """Counts the requests of all clients of this process, and how long each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = collections.defaultdict(list)
        self.failures: list[str] = []

    def started(self, event: pymongo.monitoring.CommandStartedEvent) -> None:
        """Wait for the end of it."""

    def succeeded(self, event: pymongo.monitoring.CommandSucceededEvent) -> None:
        """Count it."""
        self.seconds[event.command_name].append(event.duration_micros / 1e6)

    def failed(self, event: pymongo.monitoring.CommandFailedEvent) -> None:
        """Count it."""
        self.failures.append(f"{event.command_name}: {event.failure}")


def trial_experiment(trial_s: float) -> Experiment:
    """Make an experiment whose runs take so long and log a few values.

    Sacred keeps the current run in the experiment, so each thread has one of its own.
    """
    experiment = Experiment("scaling", save_git_info=False)
    experiment.add_config(x=0.5)

    @experiment.main
    def sleep_and_log(x: float, _run: Run) -> float:
        for step in range(POINTS):
            time.sleep(trial_s / POINTS)
            _run.log_scalar(METRIC, x, step)
        return x

    return experiment


def address_of(worker: int, port: int) -> MongoAddress:
    """Return an address that no other worker has; what differs changes nothing for one server."""
    return MongoAddress(f"mongodb://127.0.0.1:{port}/?localThresholdMS={1000 + worker}", "scaling")


def work(worker: int, run_ids: Sequence[int], port: int, folder: str, trial_s: float) -> None:
    """Do what a worker process does: one recorded trial after the other."""
    experiment = trial_experiment(trial_s)
    target = RecordTarget(
        address_of(worker, port),
        tags=("scaling", "sweep-scaling"),
        journal_folder=folder,
        group="sweep-scaling",
        has_indexes=True,
    )
    for run_id in run_ids:
        run = experiment._create_run(options=_OPTIONS)
        run.meta_info["sweep"] = {"sweep_id": "sweep-scaling", "trial_index": run_id, "attempt": 0}
        target.observe(run, extra_tags=["trial"], is_patient=False, run_id=run_id)
        run()


def main() -> None:
    """Read what is to be done, do it, and tell what it took."""
    order = json.loads(sys.stdin.readline())
    requests = Requests()
    pymongo.monitoring.register(requests)
    remember_host_info()
    same = (order["port"], order["folder"])
    for each in order["workers"]:  # each connects, and finds out where it is, before time counts
        work(each["number"], each["run_ids"][:1], *same, 0.0)
    print("ready", flush=True)
    sys.stdin.readline()
    requests.seconds.clear()
    cpu = time.process_time()
    threads = [
        threading.Thread(
            target=work, args=(each["number"], each["run_ids"][1:], *same, order["trial_s"])
        )
        for each in order["workers"]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("trials ended", flush=True)
    sys.stdin.readline()  # the record is complete, or time is up
    told = {"seconds": requests.seconds, "failures": requests.failures}
    print(json.dumps({**told, "cpu_s": time.process_time() - cpu}), flush=True)
    close_clients()


if __name__ == "__main__":
    main()
