"""A Slurm with two nodes on one machine, from Debian's packages, without systemd or cgroups."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

NODES = ("n1", "n2")
MEMORY_MB = 3000  # of each node, whatever the machine has
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")
_INSTALL = "SACRED_RAY_INSTALL_SLURM"
_START_S = 60.0
_CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
KillWait=5
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory={memory}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory={memory}
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=60 State=UP
"""


@dataclass
class Slurm:
    """The daemons, and the commands that use them."""

    folder: Path
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start munged, slurmctld and a slurmd for each node; wait for the nodes."""
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        (self.folder / "state").mkdir()
        configuration = self.folder / "slurm.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                folder=self.folder,
                host=socket.gethostname(),
                ports=_free_ports(3),
                memory=MEMORY_MB,
            )
        )
        files = {name: self.folder / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}
        self._daemon(
            "munged", "--foreground", f"--socket={files['socket']}", f"--key-file={key}",
            f"--pid-file={files['pid']}", f"--log-file={files['log']}",
            f"--seed-file={files['seed']}",
        )  # fmt: skip
        _wait(files["socket"].exists, "munged does not answer")
        self._daemon("slurmctld", "-D", "-c", "-f", str(configuration))
        for node in NODES:
            self._daemon("slurmd", "-D", "-N", node, "-f", str(configuration))
        _wait(lambda: self._idle_nodes() == list(NODES), "the nodes do not come up")

    def submit(self, environment: Mapping[str, str], *words: str) -> str:
        """Submit a job with ``sbatch`` and return its id."""
        job = self.run("sbatch", "--parsable", *words, environment=environment).strip()
        self.jobs.append(job)
        return job

    def shown(self, job: str) -> dict[str, str]:
        """What ``scontrol`` knows of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.run("scontrol", "show", "job", "-o", job)))

    def ended(self, job: str, state: str | None = None, timeout_s: float = 120) -> dict[str, str]:
        """Wait until a job is in a state, or has come to its end."""

        def is_there() -> bool:
            now = self.shown(job)["JobState"]
            return now == state if state else now not in ("PENDING", "RUNNING", "COMPLETING")

        _wait(is_there, f"job {job} does not end", timeout_s)
        return self.shown(job)

    def run(self, *words: str, environment: Mapping[str, str] | None = None) -> str:
        """Run one of Slurm's commands and return what it prints."""
        finished = subprocess.run(
            words,
            env={**_surroundings(self.folder), **(environment or {})},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    def close(self) -> None:
        """End all jobs and daemons, the latter by their process ids."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            for job in self.jobs:
                self.run("scancel", job)
            _wait(lambda: not self.run("squeue", "--noheader"), "jobs are left", 30)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _idle_nodes(self) -> list[str]:
        listed = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%N %t"],
            env=_surroundings(self.folder),
            capture_output=True,
            text=True,
            timeout=30,
        )
        return sorted(line.split()[0] for line in listed.stdout.splitlines() if " idle" in line)

    def _daemon(self, *words: str) -> None:
        with (self.folder / f"daemon{len(self.daemons)}.log").open("wb") as file:
            self.daemons.append(
                subprocess.Popen(
                    words,
                    env=_surroundings(self.folder),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )


@contextlib.contextmanager
def one_machine_slurm() -> Iterator[Slurm]:
    """Give a Slurm that runs, or skip the test where there is none."""
    _need_programs()
    folder = Path(tempfile.mkdtemp(prefix="sri-slurm-", dir="/tmp"))
    folder.chmod(0o755)  # munged insists that everybody can reach its socket
    slurm = Slurm(folder)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.close()
        shutil.rmtree(folder, ignore_errors=True)


def _need_programs() -> None:
    if _are_there():
        return
    if not (os.environ.get("CI") or os.environ.get(_INSTALL)):
        pytest.skip(
            "There is no Slurm on this machine: apt-get install slurm-wlm munge, or set "
            f"{_INSTALL}=1 to let the test do it."
        )
    # With another runlevel than usual nothing is started.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", "slurm-wlm", "munge"]
    for words in (["apt-get", "update"], install):
        try:
            done = subprocess.run(
                words, env=environment, capture_output=True, text=True, timeout=200
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"Slurm cannot be installed: {error}")
        if done.returncode:
            pytest.skip(f"Slurm cannot be installed: {done.stderr.strip()[-300:]}")
    assert _are_there()


def _are_there() -> bool:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return all(shutil.which(program, path=path) for program in _PROGRAMS)


def _surroundings(folder: Path) -> dict[str, str]:
    # The daemons hand nothing on, but a job inherits what sbatch has.
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("SLURM")},
        "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
        "SLURM_CONF": str(folder / "slurm.conf"),
    }


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _wait(is_so: Callable[[], bool], sentence: str, timeout_s: float = _START_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, sentence
        time.sleep(0.1)
