"""The private server of a project: a real mongod, started, shared, broken, stopped."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pymongo
import pytest
from pymongo.errors import OperationFailure

from sacred_ray_ingredient.errors import DatabaseError
from sacred_ray_ingredient.mongo import EmbeddedServer, MongoAddress, project_folder

pytestmark = pytest.mark.integration


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("SACRED_RAY_HOME", str(tmp_path))
    server = EmbeddedServer(project_folder())
    try:
        yield server
    finally:
        process = server.status()
        if process.running:
            # Whatever a test did to the server, it ends here.
            os.kill(process.pid, signal.SIGKILL)
            _wait_until_dead(process.pid)


def _wait_until_dead(pid):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            # A process whose parent does not collect it is a zombie with an empty command line.
            if not Path(f"/proc/{pid}/cmdline").read_bytes():
                return
        except OSError:
            return
        time.sleep(0.02)
    raise TimeoutError(f"process {pid} does not end")


def _kill(server):
    pid = server.status().pid
    os.kill(pid, signal.SIGKILL)
    _wait_until_dead(pid)


def _command(*words):
    return [sys.executable, "-m", "sacred_ray_ingredient", "mongo", *words]


def _insert_and_count(address):
    with address.client() as client:
        client.sacred.runs.insert_one({})
        return client.sacred.runs.count_documents({})


def test_only_the_password_opens_it(server):
    address = server.start()
    address.check()
    assert _insert_and_count(address) == 1
    port = server.status().port
    with (
        pymongo.MongoClient("127.0.0.1", port) as stranger,
        pytest.raises(OperationFailure, match="requires authentication"),
    ):
        stranger.sacred.runs.find_one()
    with (
        pymongo.MongoClient("127.0.0.1", port) as stranger,
        pytest.raises(OperationFailure, match="requires authentication"),
    ):
        stranger.admin.command("createUser", "me", pwd="me", roles=["root"])


def test_second_start_is_the_same_server_at_once(server):
    first = server.start()
    pid = server.status().pid
    start = time.monotonic()
    assert server.start() == first
    assert time.monotonic() - start < 1
    assert server.status().pid == pid


def test_running_server_is_found_without_the_lock(server):
    from filelock import FileLock

    address = server.start()
    with FileLock(str(server.files.lock)):
        assert server.start() == address


def test_two_commands_at_once_share_a_server(server):
    processes = [
        subprocess.Popen(_command("start"), stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert printed[0] == printed[1]
    assert f"127.0.0.1:{server.status().port}" in printed[0]


def test_killed_server_starts_again_with_its_data(server):
    first = server.start()
    _insert_and_count(first)
    _kill(server)
    assert not server.status().running
    assert server.start() == first
    assert _insert_and_count(first) == 2


def test_lock_file_that_names_another_process_is_not_believed(server):
    server.start()
    assert server.stop()
    # What a reboot leaves: the number is now anybody's, here another project's server.
    other = [sys.executable, "-c", "input()", "--dbpath", "/elsewhere", "--port", "27017"]
    with subprocess.Popen(other, stdin=subprocess.PIPE) as process:
        (server.files.data / "mongod.lock").write_text(f"{process.pid}\n")
        assert not server.status().running
        assert not server.stop()
        server.start().check()
        assert process.poll() is None
        process.communicate(b"\n")


def test_port_taken_by_somebody_else(server):
    first = server.start()
    server.stop()
    with socket.create_server(("127.0.0.1", server.status().port)):
        second = server.start()
    assert second != first
    second.check()


def test_port_taken_at_the_last_moment(server, monkeypatch):
    from sacred_ray_ingredient.mongo import embedded

    free = embedded.pick_port
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = iter([taken])
        monkeypatch.setattr(embedded, "pick_port", lambda wanted: next(ports, None) or free(wanted))
        server.start().check()
    assert server.status().port != taken


def test_password_stands_in_its_file_only(server):
    address = server.start()
    secrets = {server.files.password, server.files.key}
    for secret in secrets:
        text = secret.read_text()
        pid = server.status().pid
        assert text.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert text not in repr(address)
        for file in (server.files.log, server.files.state, server.files.output):
            assert text not in file.read_text(), file
        assert secret.stat().st_mode & 0o777 == 0o600
    for folder in (server.folder, server.files.root, server.files.data):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert (server.folder / ".gitignore").read_text() == "*\n"


def test_environment_of_the_caller_stays_with_the_caller(server, monkeypatch):
    monkeypatch.setenv("SACRED_MONGO_URL", "mongodb://me:hunter2@host")
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")
    server.start()
    assert b"hunter2" not in Path(f"/proc/{server.status().pid}/environ").read_bytes()


def test_server_is_in_a_session_of_its_own(server):
    server.start()
    pid = server.status().pid
    assert os.getsid(pid) not in (os.getsid(0), 0)
    for number in (0, 1, 2):
        assert os.readlink(f"/proc/{pid}/fd/{number}") in ("/dev/null", str(server.files.log))


def test_stop(server):
    server.start()
    pid = server.status().pid
    assert server.stop()
    assert not Path(f"/proc/{pid}").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()
    assert not server.stop()
    with pytest.raises(DatabaseError, match="does not run; start it with `sacred-ray mongo start`"):
        server.address()


def test_stop_waits_until_the_port_is_left(server, monkeypatch):
    from sacred_ray_ingredient.mongo import embedded

    server.start()
    # The first answer is the running server's; an ending one holds its port for some moments
    # after the system lists it without its command line.
    answers = iter([True, True, True, False])
    monkeypatch.setattr(embedded, "listens", lambda port, timeout_s: next(answers))
    assert server.stop()
    assert list(answers) == []


def test_lost_password_is_made_anew(server):
    server.start()
    server.stop()
    server.files.password.unlink()
    address = server.start()
    address.check()
    assert _insert_and_count(address) == 1


def test_running_server_whose_secrets_are_lost(server):
    server.start()
    server.files.password.unlink()
    server.files.key.unlink()
    with pytest.raises(DatabaseError, match=r"accepts neither the password in .* nor the key"):
        server.start()
    assert server.stop()
    server.start().check()


def test_start_that_fails_names_log_and_reason(server):
    server.start()
    server.stop()
    (server.files.data / "WiredTiger.turtle").write_bytes(b"broken")
    with pytest.raises(DatabaseError, match=r"did not start \(exit code \d+\): .+") as caught:
        server.start()
    assert str(server.files.log) in str(caught.value)
    assert "it printed nothing" not in str(caught.value)


def test_start_in_an_empty_home(server, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "empty"))
    server.start().check()
    assert list((tmp_path / "empty").iterdir()) == []


def test_check_of_an_unreachable_address():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start = time.monotonic()
    with pytest.raises(DatabaseError, match="cannot be reached") as caught:
        MongoAddress(f"mongodb://127.0.0.1:{port}").check(timeout_s=1)
    assert time.monotonic() - start < 3
    for part in (f"127.0.0.1:{port}", "start it", "-m HOST:PORT:DB", "-F DIR"):
        assert part in str(caught.value)


def test_check_of_a_server_that_hangs(server):
    address = server.start()
    os.kill(server.status().pid, signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(DatabaseError, match=r"cannot be reached .*sacred-ray mongo start"):
        address.check(timeout_s=1)
    assert time.monotonic() - start < 3


def test_check_with_wrong_credentials(server, monkeypatch):
    server.start()
    monkeypatch.setenv("WRONG", "hunter2")
    uri = f"mongodb://sacred@127.0.0.1:{server.status().port}/?authSource=admin"
    with pytest.raises(DatabaseError, match="refuses the user name or password") as caught:
        MongoAddress(uri, password_env="WRONG").check()
    assert "the environment variable WRONG" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_check_without_credentials(server):
    server.start()
    with pytest.raises(DatabaseError, match=r"does not let the user .* read the collection runs"):
        MongoAddress(f"mongodb://127.0.0.1:{server.status().port}").check()


def test_command_line(server):
    def run(*words):
        return subprocess.run(_command(*words), capture_output=True, text=True, timeout=60)

    assert "127.0.0.1:" in run("start").stdout
    status = run("status")
    assert status.returncode == 0
    assert f"process {server.status().pid}" in status.stdout
    uri = run("uri").stdout.strip()
    assert re.fullmatch(r"mongodb://sacred:[^@]+@127\.0\.0\.1:\d+/sacred\?authSource=admin", uri)
    with pymongo.MongoClient(uri) as client:
        assert client.get_default_database().runs.find_one() is None
    assert run("stop").returncode == 0
    assert run("status").returncode == 3
    # Who wants to look at the runs after a reboot gets the server as well.
    assert run("uri").stdout.strip() == uri
    assert run("stop", "--folder", str(server.folder)).returncode == 0
    assert not server.status().running


def test_moved_project_keeps_its_runs(server, tmp_path):
    _insert_and_count(server.start())
    server.stop()
    moved = EmbeddedServer(Path(shutil.move(server.folder, tmp_path / "elsewhere")))
    try:
        assert _insert_and_count(moved.start()) == 2
    finally:
        moved.stop()
