"""Real parts for the integration tests: a private mongod, and commands as a user types them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest

from sacred_ray_ingredient import mongo
from tests.integration.harness import PASSWORD, Command, Sweep, mongod


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """Give the tests a project folder with a running embedded server, and end it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="sri-home-"))
    server = mongo.EmbeddedServer(folder / ".sacred_ray")
    server.start()
    try:
        yield folder
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """Give Ray a short path: the names of its sockets have a limit."""
    folder = Path(tempfile.mkdtemp(prefix="sri-ray-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def command(home: Path, ray_folder: Path) -> Command:
    """Run commands as a user would."""
    return Command(home, ray_folder)


@pytest.fixture(scope="session")
def database(home: Path) -> Iterator[Any]:
    """Open the database of the tests' embedded server."""
    client = mongo.EmbeddedServer(home / ".sacred_ray").address().client()
    yield client["sacred"]
    client.close()


@pytest.fixture
def last_sweep(database: Any) -> Any:
    """Return a function that reads the documents of the newest sweep."""

    def read() -> Sweep:
        outer = database.runs.find_one({"omniboard.tags": "sweep"}, sort=[("_id", -1)])
        query = {
            "meta.sweep.sweep_id": outer["meta"]["sweep"]["sweep_id"],
            "meta.sweep.trial_index": {"$exists": True},
        }
        order = [("meta.sweep.trial_index", 1), ("meta.sweep.attempt", 1)]
        return Sweep(outer, list(database.runs.find(query, sort=order)))

    return read


@pytest.fixture
def database_of_ada(tmp_path: Path) -> Iterator[tuple[int, Any]]:
    """Start a server that asks for passwords; Ada may only write her database."""
    data = tmp_path / "data"
    data.mkdir()
    with mongod(data, "--auth") as port:
        with pymongo.MongoClient("127.0.0.1", port) as first:
            first.admin.command("createUser", "root", pwd="r", roles=["root"])
        with pymongo.MongoClient("127.0.0.1", port, username="root", password="r") as root:
            roles = [{"role": "readWrite", "db": "adas"}]
            root.adas.command("createUser", "ada", pwd=PASSWORD, roles=roles)
            yield port, root.adas
