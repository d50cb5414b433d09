"""What is said where no Ray can be joined, without a Ray."""

import contextlib
import http.server
import importlib.util
import socket
import threading

import pytest
import ray
from ray._private import services
from ray._private.authentication import authentication_token_setup as setup

from sacred_ray_ingredient.cluster import connection, reach
from sacred_ray_ingredient.cluster.reach import address_mistake
from sacred_ray_ingredient.settings import SweepSettings


@pytest.fixture
def silent():
    """A port on which something listens that says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def web():
    """A port of another service."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Tokens:
    """Stands for Ray's finder of tokens."""

    def __init__(self, is_there):
        self.is_there = is_there

    def instance(self):
        return self

    def has_token(self, ignore_auth_mode):
        if isinstance(self.is_there, Exception):
            raise self.is_there
        return self.is_there


@pytest.fixture
def token(monkeypatch):
    """Set what the process has: a mode, and whether there is a token; returns what was done."""
    done = []
    monkeypatch.setattr(setup, "_enable_token_auth", lambda: done.append("enabled"))

    def given(mode, is_there):
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            monkeypatch.delenv(name, raising=False)
        if mode is not None:
            monkeypatch.setenv("RAY_AUTH_MODE", mode)
        monkeypatch.setattr(setup, "AuthenticationTokenLoader", Tokens(is_there))
        return done

    return given


@pytest.mark.parametrize("address", [None, "local", "anyscale://there", "no-port"])
def test_ray_decides_about_other_addresses(address):
    assert address_mistake(address) is None


def test_nothing_answers():
    assert address_mistake("127.0.0.1:1").startswith(
        "ray.address is '127.0.0.1:1', where nothing answers ("
    )


@pytest.mark.parametrize("service", ["silent", "web"])
def test_something_else_answers(service, request, monkeypatch):
    monkeypatch.setattr(reach, "_TIMEOUT_S", 0.5)
    address = request.getfixturevalue(service)
    assert address_mistake(address).startswith(
        f"ray.address is '{address}', where something answers that is no Ray; the port is"
    )


def test_no_ray_on_this_machine(monkeypatch):
    def none(address):
        raise ConnectionError

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(services, "canonicalize_bootstrap_address", none)
    assert address_mistake("auto").startswith("ray.address is 'auto', but no Ray runs on this mac")


def test_auto_is_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert "where nothing answers" in address_mistake("auto")


def test_ray_client_needs_a_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "lacks the package grpcio; install ray[client], or run" in address_mistake("ray://h:1")


class TestToken:
    def test_is_used_where_there_is_one(self, token):
        done = token(None, True)
        assert reach._token_mistake("x") is None
        assert done == ["enabled"]

    def test_is_not_looked_for_where_there_is_none(self, token):
        done = token(None, False)
        assert reach._token_mistake("x") is None
        assert done == []

    def test_is_not_used_where_the_user_says_so(self, token):
        done = token("disabled", True)
        assert reach._token_mistake("x") is None
        assert done == []

    def test_has_to_be_there_where_the_user_says_so(self, token):
        # Ray ends the process in this case.
        token("token", False)
        assert reach._token_mistake("x") == (
            "x and RAY_AUTH_MODE is 'token', but there is none: RAY_AUTH_TOKEN, "
            "RAY_AUTH_TOKEN_PATH or the file ~/.ray/auth_token has to be."
        )

    def test_that_cannot_be_read_is_said(self, token):
        error = ray.exceptions.AuthenticationError("RAY_AUTH_TOKEN_PATH is set but gone: /x. Note:")
        token(None, error)
        assert reach._token_mistake("x") == (
            "x, and Ray's token cannot be read: RAY_AUTH_TOKEN_PATH is set but gone: /x."
        )

    @pytest.mark.parametrize(
        ("mode", "names", "words"),
        [
            (None, [], "and none was found; put that of the cluster"),
            ("disabled", ["RAY_AUTH_TOKEN"], "but RAY_AUTH_MODE is 'disabled'; leave it out"),
            ("token", ["RAY_AUTH_TOKEN"], "and refuses that of RAY_AUTH_TOKEN;"),
            ("token", ["RAY_AUTH_TOKEN_PATH"], "and refuses that of RAY_AUTH_TOKEN_PATH;"),
            ("token", [], "and refuses that of ~/.ray/auth_token;"),
        ],
    )
    def test_that_is_refused_is_named_by_its_place(self, token, monkeypatch, mode, names, words):
        token(mode, True)
        for name in names:
            monkeypatch.setenv(name, "marker")
        sentence = reach._refused("ray.address is 'h:1'")
        assert sentence.startswith(f"ray.address is 'h:1', a Ray that asks for a token, {words}")
        assert "marker" not in sentence


def test_rays_own_log_stays_off_the_terminal(capfd):
    with reach._without_rays_log():
        import os

        os.write(2, b"noise")
    os.write(2, b"signal")
    assert capfd.readouterr().err == "signal"


class TestRefusal:
    def test_names_versions(self):
        error = RuntimeError(
            "Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
            "This process on node 10.0.0.1 was started with:\n    Ray: 2.59.0\n    Python: 3.12.1\n"
        )
        assert connection._refusal(SweepSettings(address="h:1"), error) == (
            "The Ray at ray.address='h:1' is another one than that of this Python: there Ray: "
            "2.60.0, Python: 3.11.7; here Ray: 2.59.0, Python: 3.12.1. Both have to be the same "
            "on all nodes."
        )

    def test_repeats_no_values(self):
        settings = SweepSettings(address="h:1", init_kwargs={"_redis_password": "marker"})
        sentence = connection._refusal(settings, ValueError("no"))
        assert sentence == (
            "Ray cannot be started with ray.address='h:1' and ray.init_kwargs (_redis_password): no"
        )


def test_arguments_of_ray_init_have_one_runtime_environment():
    settings = SweepSettings(init_kwargs={"runtime_env": {"a": 1}, "num_cpus": 2})
    made = connection._init_arguments(settings, {"env_vars": {"A": "1"}})
    assert made["runtime_env"] == {"env_vars": {"A": "1"}}
    assert (made["address"], made["num_cpus"]) == ("local", 2)
    assert "runtime_env" not in connection._init_arguments(settings, {})


def test_what_goes_along_is_cleaned_up(tmp_path, monkeypatch):
    from sacred_ray_ingredient.cluster.luggage import luggage

    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    (folder / "a.py").write_text("")
    monkeypatch.setenv("SACRED_RAY_HOME", str(folder))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    settings = SweepSettings(address="h:1", runtime_env={"env_vars": {"A": "1"}})
    with contextlib.ExitStack() as stack:
        taken = stack.enter_context(luggage(settings, str(folder), None, print))
        assert taken.tree.root == taken.tree.folder == str(folder)
        assert taken.tree.mark.is_here()
        assert taken.runtime_env["env_vars"] == {"A": "1"}
        assert taken.runtime_env["working_dir"] == str(taken.package)
        assert taken.package.exists()
    assert not taken.tree.mark.is_here()
    assert not taken.package.exists()
