"""SEML's local workers, in an environment of their own that is made here when it is first needed.

Two workers run at once, as two trials do in the other ways; all else is SEML's default. As a
module it runs the commands that a user types, with the database that ``$HOME`` has for SEML::

    python -m benchmarks.seml_worker FOLDER_OF_SEML
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from pymongo.uri_parser import parse_uri

from benchmarks.figures import BenchmarkFailed, BenchmarkSkipped
from benchmarks.runs import Expected, Measured, Place, measure

VERSION = "0.5.7"
_SCRIPT = Path(__file__).with_name("seml_noop.py")
_COLLECTION = "runs"
_INSTALL_TIMEOUT_S = 900.0
# SEML's user has to be one of the database itself, and that of the private server is one of this.
_DATABASE = "admin"

_EXPERIMENTS = """\
seml:
  executable: seml_noop.py
  name: noop
  output_dir: .
  project_root_dir: .
random:
  samples: {trials}
  seed: 1
  x: {{type: uniform, min: 0.0, max: 1.0}}
"""
_CONFIG = """\
username: {username}
password: {password}
host: {host}
port: {port}
database: {database}
"""


def run(place: Place, label: str, trials: int) -> Measured:
    """Run the no-op experiment so many times.

    Parameters
    ----------
    place, label
        As for `benchmarks.runs.measure`.
    trials
        Their number.

    Raises
    ------
    BenchmarkSkipped
        If SEML cannot be installed.
    BenchmarkFailed
        If a command failed, or not all trials are recorded.
    """
    programs = install()
    home = place.folder / label
    project = home / "project"
    project.mkdir(parents=True)
    shutil.copy(_SCRIPT, project)
    (project / "experiments.yaml").write_text(_EXPERIMENTS.format(trials=trials), encoding="utf-8")
    parts = parse_uri(place.url)
    host, port = parts["nodelist"][0]
    config = home / ".config" / "seml" / "mongodb.config"
    config.parent.mkdir(parents=True)
    config.touch(mode=0o600)
    config.write_text(
        _CONFIG.format(
            username=parts["username"],
            password=parts["password"],
            host=host,
            port=port,
            database=_DATABASE,
        ),
        encoding="utf-8",
    )
    command = ["-m", "benchmarks.seml_worker", str(programs)]
    return measure(place, label, command, Expected(trials), database=_DATABASE)


def install() -> Path:
    """Make SEML's environment if it is not there.

    Returns
    -------
    pathlib.Path
        Folder of its programs.

    Raises
    ------
    BenchmarkSkipped
        If pip cannot install it.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "sacred-ray-benchmarks" / f"seml-{VERSION}"
    done = folder / "installed"
    if not done.is_file():
        # Sacred needs pkg_resources, which newer ones do not have.
        wanted = [f"seml=={VERSION}", "setuptools<82"]
        try:
            venv.create(folder, clear=True, with_pip=True)
            subprocess.run(
                [folder / "bin" / "python", "-m", "pip", "install", "--quiet", *wanted],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=True,
                timeout=_INSTALL_TIMEOUT_S,
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            reason = said[-1] if said else type(error).__name__
            raise BenchmarkSkipped(f"SEML {VERSION} cannot be installed ({reason})") from error
        done.touch()
    return folder / "bin"


def main(words: Sequence[str]) -> None:
    """Add the experiments and let two workers run them.

    Raises
    ------
    BenchmarkFailed
        If a worker failed.
    """
    programs = Path(words[0])
    project = Path.home() / "project"
    # SEML starts its experiments with the first Python on the path.
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    seml = [str(programs / "seml"), _COLLECTION]
    subprocess.run([*seml, "add", "experiments.yaml"], cwd=project, env=environment, check=True)
    prepare = [*seml, "start", "--local", "--no-worker"]
    subprocess.run(prepare, cwd=project, env=environment, check=True)
    # Without the filter it looks for experiments that nobody has started yet, and ends at once.
    work = [*seml, "launch-worker", "--filter-dict", '{"status": "PENDING"}']
    workers = [subprocess.Popen(work, cwd=project, env=environment) for _ in range(2)]
    codes = [worker.wait() for worker in workers]
    if any(codes):
        raise BenchmarkFailed(f"SEML's workers ended with exit codes {codes}")


if __name__ == "__main__":
    main(sys.argv[1:])
