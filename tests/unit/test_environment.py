"""What is recorded of the surroundings of a run, and what is kept out of it."""

import importlib.metadata
import json
import platform

import numpy as np
import pytest
import sacred
from sacred.host_info import get_host_info

import sacred_ray_ingredient
from sacred_ray_ingredient.record import environment
from sacred_ray_ingredient.record.environment import (
    environment_document,
    host_document,
    is_secret_name,
    mask,
    short_host,
)

HOST = {
    "hostname": "node-1",
    "os": ("Linux", "Linux-6.1"),
    "python_version": "3.11.7",
    "cpu": "A CPU",
    "gpus": {"gpus": [{"model": "A GPU", "total_memory": np.int64(80)}]},
    "ENV": {},
}


@pytest.fixture
def fresh():
    environment._environment.cache_clear()
    yield
    environment._environment.cache_clear()


def _distribution(metadata, folder):
    methods = {"metadata": metadata, "locate_file": lambda self, name: folder}
    return type("Distribution", (), methods)()


class TestEnvironment:
    def test_has_python_and_all_that_is_installed(self):
        _, found = environment_document()
        assert found["python"] == platform.python_version()
        assert found["implementation"] == "CPython"
        assert found["platform"] == platform.platform()
        assert f"numpy=={np.__version__}" in found["distributions"]
        assert found["distributions"] == sorted(set(found["distributions"]), key=str.lower)
        assert found["versions"] == {
            "ray": importlib.metadata.version("ray"),
            "sacred": sacred.__version__,
            "sacred_ray_ingredient": sacred_ray_ingredient.__version__,
        }

    def test_is_plain_data_that_the_caller_can_change(self):
        identity, found = environment_document()
        found["distributions"].clear()
        assert environment_document()[0] == identity
        assert json.loads(json.dumps(environment_document()[1])) == environment_document()[1]
        assert environment_document()[1]["distributions"]

    def test_is_looked_up_once(self, monkeypatch, fresh):
        first = environment_document()
        monkeypatch.setattr("importlib.metadata.distributions", lambda: 1 / 0)
        assert environment_document() == first

    def test_has_an_id_of_its_content(self, monkeypatch, fresh):
        identity, _ = environment_document()
        assert len(identity) == 24
        int(identity, 16)
        environment._environment.cache_clear()
        assert environment_document()[0] == identity
        environment._environment.cache_clear()
        monkeypatch.setattr("platform.python_version", lambda: "3.99")
        assert environment_document()[0] != identity

    def test_does_not_list_what_ray_brings_along_for_itself(self, monkeypatch, fresh):
        own = _distribution({"Name": "psutil", "Version": "7"}, "/ray/thirdparty_files")
        other = _distribution({"Name": "sacred", "Version": "0.8.7"}, "/site-packages")
        monkeypatch.setattr("importlib.metadata.distributions", lambda: [own, other])
        assert environment_document()[1]["distributions"] == ["sacred==0.8.7"]

    def test_does_without_what_is_not_installed_or_has_no_name(self, monkeypatch, fresh):
        def version(name):
            raise importlib.metadata.PackageNotFoundError(name)

        broken = _distribution({"Name": None, "Version": "1"}, "/site-packages")
        monkeypatch.setattr("importlib.metadata.version", version)
        monkeypatch.setattr("importlib.metadata.distributions", lambda: [broken])
        _, found = environment_document()
        assert found["distributions"] == []
        assert found["versions"]["ray"] is None


class TestHost:
    def test_has_what_sacred_knows_of_the_node(self):
        identity, found = host_document(HOST)
        assert len(identity) == 24
        assert found == {
            "kind": "node",
            "hostname": "node-1",
            "os": ["Linux", "Linux-6.1"],
            "python_version": "3.11.7",
            "cpu": "A CPU",
            "gpus": {"gpus": [{"model": "A GPU", "total_memory": 80}]},
        }
        assert type(found["gpus"]["gpus"][0]["total_memory"]) is int

    def test_is_the_same_for_all_runs_on_a_node(self):
        one = {**HOST, "ENV": {"CUDA_VISIBLE_DEVICES": "0"}, "free_memory": 12}
        gpu = dict(reversed(HOST["gpus"]["gpus"][0].items()))
        other = {**HOST, "ENV": {"CUDA_VISIBLE_DEVICES": "1"}, "gpus": {"gpus": [gpu]}, "free": 7}
        assert host_document(one) == host_document(dict(reversed(other.items())))
        assert host_document(one)[0] != host_document({**one, "hostname": "node-2"})[0]

    def test_of_this_machine_can_be_described(self):
        assert host_document(get_host_info())[1]["hostname"] == platform.node()


class TestShortHost:
    def test_has_the_names_and_where_the_rest_is(self):
        assert short_host(HOST, "id") == {
            "hostname": "node-1",
            "os": ["Linux", "Linux-6.1"],
            "python_version": "3.11.7",
            "node": "id",
        }

    def test_has_what_can_be_another_in_each_run(self):
        info = {
            **HOST,
            "ENV": {"OMP_NUM_THREADS": "4"},
            "free_memory": np.float64(1.5),
            "none": None,
        }
        found = short_host(info, "id")
        assert found["ENV"] == {"OMP_NUM_THREADS": "4"}
        assert found["free_memory"] == 1.5
        assert type(found["free_memory"]) is float
        assert "none" not in found
        assert "cpu" not in found

    def test_of_a_host_that_says_nothing_is_there(self):
        nothing = {"hostname": None, "os": None, "python_version": None, "node": "id"}
        assert short_host({}, "id") == nothing


class TestSecrets:
    @pytest.mark.parametrize(
        "name",
        [
            *("PASSWORD", "DB_PASSWD", "MY_SECRET", "HF_TOKEN", "WANDB_API_KEY", "KEY"),
            *("AWS_CREDENTIALS", "SACRED_MONGO_URL", "MONGO_URI", "MYSQL_PWD", "DB_PASS"),
            *("api_key", "GIT_AUTH", "DATABASE_URL", "SENTRY_DSN", "passphrase"),
        ],
    )
    def test_are_not_stored_under_such_names(self, name):
        info = {**HOST, "ENV": {name: "hunter2", "LANG": "C"}, "own": [{name: {"x": "hunter2"}}]}
        found = short_host(info, "id")
        assert "hunter2" not in str(found)
        assert found["ENV"]["LANG"] == "C"

    @pytest.mark.parametrize(
        "name", ["PWD", "PATH", "TOKENIZERS_PARALLELISM", "LANG", "OMP_NUM_THREADS", "COMPASS"]
    )
    def test_are_not_seen_where_none_are(self, name):
        assert not is_secret_name(name)

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("mongodb://ann:hunter2@host:27017/db?x=1", "mongodb://***@host:27017/db?x=1"),
            ("mongodb://ann:hun/ter@2@host/db", "mongodb://***@host/db"),
            ("see https://hunter2@github.com/a and b", "see https://***@github.com/a and b"),
            ("http://h/?a=1&api_token=hunter2&b=2", "http://h/?a=1&api_token=***&b=2"),
            ("http://h/?PASSWORD=hunter2", "http://h/?PASSWORD=***"),
            ("http://host:8080/path", "http://host:8080/path"),
            ("ann@example.org", "ann@example.org"),
            ("a:b c@d", "a:b c@d"),
        ],
    )
    def test_in_addresses_are_masked(self, text, shown):
        assert mask(text) == shown
        assert short_host({"own": {"at": [text]}}, "id")["own"] == {"at": [shown]}
        assert host_document({"cpu": text})[1]["cpu"] == shown
