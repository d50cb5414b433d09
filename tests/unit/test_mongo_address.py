"""Addresses of a MongoDB: where they come from, what is wrong in them, that none keeps a secret."""

import json
import pickle
import shlex
import subprocess
import sys

import mongomock
import pytest
from pymongo.errors import DuplicateKeyError

from sacred_ray_ingredient.errors import DatabaseError
from sacred_ray_ingredient.mongo import (
    MongoAddress,
    config_mistakes,
    create_project_folder,
    ensure_indexes,
    find_mongod,
    from_config,
    from_environment,
    from_option,
    project_folder,
    register_omniboard_columns,
)


@pytest.mark.parametrize(
    ("text", "uri", "db_name", "collection"),
    [
        ("localhost:27017", "mongodb://localhost:27017/", "sacred", "runs"),
        ("my_db", "mongodb://localhost:27017/", "my_db", "runs"),
        ("db.host.org:1234:my_db", "mongodb://db.host.org:1234/", "my_db", "runs"),
        ("localhost:27017:my_db.trials!5", "mongodb://localhost:27017/", "my_db", "trials"),
    ],
)
def test_option_in_sacreds_syntax(text, uri, db_name, collection):
    assert from_option(text) == MongoAddress(uri, db_name=db_name, collection=collection)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:b:c:d", "-m was given 'a:b:c:d', right would be HOST:PORT:DB"),
        ("host:1:db.runs:123", "overwrite run 123; a sweep never overwrites runs"),
        ("host:99999:db", "port is not a number from 1 to 65535"),
        ("host:1:db.metrics", "'metrics' holds other things than runs"),
    ],
)
def test_wrong_option_is_a_sentence(text, message):
    with pytest.raises(DatabaseError, match=message):
        from_option(text)


def test_uri_as_option_is_refused_without_repeating_it():
    with pytest.raises(
        DatabaseError, match="a mongodb:// URI goes into SACRED_MONGO_URL"
    ) as caught:
        from_option("mongodb://me:hunter2@host/db")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("environ", [{}, {"SACRED_MONGO_URL": " "}])
def test_no_address_in_the_environment(environ):
    assert from_environment(environ) is None


def test_environment_without_password():
    address = from_environment({"SACRED_MONGO_URL": "host:1/my_db"})
    assert address == MongoAddress("mongodb://host:1/my_db", db_name="my_db")


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://me:hunter2@host:1/my_db?authSource=admin",
        "mongodb://me@host/?tlsCertificateKeyFilePassword=hunter2",
        "mongodb://me@host/?authMechanismProperties=AWS_SESSION_TOKEN:hunter2",
    ],
)
def test_secret_in_the_environment_stays_there(url):
    address = from_environment({"SACRED_MONGO_URL": url})
    assert address.uri_env == "SACRED_MONGO_URL"
    assert address.uri.startswith("mongodb://me@host")
    assert "hunter2" not in f"{address!r} {address.describe()} {address.omniboard_command()}"
    assert b"hunter2" not in pickle.dumps(address)


@pytest.mark.parametrize("url", ["http://me:hunter2@host", "mongodb://me:hunter2/x@host/db"])
def test_wrong_url_in_the_environment_is_not_repeated(url):
    with pytest.raises(DatabaseError, match="SACRED_MONGO_URL is not a MongoDB URI") as caught:
        from_environment({"SACRED_MONGO_URL": url})
    assert "hunter2" not in str(caught.value)


def test_address_refuses_a_password():
    with pytest.raises(DatabaseError, match="has a password in it") as caught:
        MongoAddress("mongodb://me:hunter2@host")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("mongo", "db_name"),
    [
        ({"url": "host:1", "db_name": None}, "sacred"),
        ({"url": "mongodb://host/mine", "db_name": None}, "mine"),
        ({"url": "mongodb://host/login", "db_name": "mine"}, "mine"),
    ],
)
def test_database_of_the_config(mongo, db_name):
    assert from_config(mongo).db_name == db_name


def test_config_without_url_gives_no_address():
    assert from_config({"url": None, "db_name": "sacred"}) is None


def test_config_with_mistakes_is_refused():
    with pytest.raises(DatabaseError, match=r"ray\.mongo\.url is not a MongoDB URI"):
        from_config({"url": "http://host"})


def test_password_file_of_the_config_is_found_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = from_config({"url": "mongodb://me@host", "password_file": "secret"})
    assert address.password_file == str(tmp_path / "secret")


@pytest.mark.parametrize(
    ("mongo", "sentence"),
    [
        ({"ulr": "host:1"}, "ray.mongo.ulr is not a known entry (did you mean 'url'?)"),
        ({"url": "mongodb://me:hunter2@host:1"}, "give ray.mongo.password_file"),
        ({"url": "http://host"}, "is not a MongoDB URI"),
        ({"url": "mongodb://host:0"}, "port from 1 to 65535"),
        ({"url": 27017}, "ray.mongo.url is of type int"),
        (
            {"url": "mongodb://me@host", "password_file": "f", "password_env": "E"},
            "are both given",
        ),
        ({"url": "mongodb://host", "password_env": "E"}, "has no user name"),
        ({"url": None, "password_env": "E"}, "ray.mongo.url is not"),
        ({"db_name": "my.db"}, "ray.mongo.db_name is 'my.db'"),
        ({"db_name": "x" * 64}, "more than 63 bytes"),
        ({"db_name": ""}, "ray.mongo.db_name is ''"),
    ],
)
def test_mistake_in_the_config(mongo, sentence):
    (mistake,) = config_mistakes(mongo)
    assert sentence in mistake
    assert "hunter2" not in mistake


@pytest.mark.parametrize(
    "mongo",
    [
        {},
        {"url": "localhost:27017", "db_name": "sacred", "password_file": None},
        {"url": "mongodb+srv://me@cluster.example.net/?w=1", "password_env": "SECRET"},
        {"url": "mongodb://a,b:2,[::1]:3/db?replicaSet=rs"},
    ],
)
def test_right_configs_have_no_mistakes(mongo):
    assert config_mistakes(mongo) == []


@pytest.mark.parametrize("trouble", ["missing", "empty"])
def test_password_file_without_password(tmp_path, trouble):
    file = tmp_path / "secret"
    if trouble == "empty":
        file.write_text("\n")
    address = MongoAddress("mongodb://me@host", password_file=str(file))
    with pytest.raises(DatabaseError, match="the password"):
        address.client()


@pytest.mark.parametrize("field", ["password_env", "uri_env"])
def test_missing_variable_is_named(field, monkeypatch):
    monkeypatch.delenv("MY_SECRET", raising=False)
    address = MongoAddress("mongodb://me@host", **{field: "MY_SECRET"})
    with pytest.raises(DatabaseError, match=r"variable MY_SECRET, which has to hold .* is not set"):
        address.client()


def test_uri_that_pymongo_refuses_is_not_repeated(monkeypatch):
    monkeypatch.setenv(
        "SACRED_MONGO_URL", "mongodb://me:hunter2@host/?tls=true&ssl=false&appname=hunter2"
    )
    address = MongoAddress("mongodb://me@host", uri_env="SACRED_MONGO_URL")
    with pytest.raises(DatabaseError, match=r"pymongo refuses .*SACRED_MONGO_URL") as e:
        address.client()
    assert "hunter2" not in str(e.value)


def test_password_is_read_when_connecting(tmp_path):
    file = tmp_path / "secret"
    address = MongoAddress("mongodb://me@host", password_file=str(file))
    file.write_text("hunter2\n")
    with address.client(connect=False) as client:
        credentials = client.options.pool_options._credentials
    assert (credentials.username, credentials.password) == ("me", "hunter2")


@pytest.mark.parametrize(
    ("options", "journal"), [("", True), ("?w=0", None), ("?journal=false", False)]
)
def test_writes_are_confirmed_from_the_journal_unless_the_uri_says_otherwise(options, journal):
    with MongoAddress(f"mongodb://host/{options}").client(connect=False) as client:
        assert client.write_concern.document.get("j") == journal


def test_description_names_hosts_and_database_only():
    address = MongoAddress("mongodb://me@a,b:2/?replicaSet=rs", db_name="mine")
    assert address.describe() == "a:27017,b:2, database mine"


@pytest.mark.parametrize(
    ("address", "command"),
    [
        (MongoAddress("mongodb://host"), "omniboard -m host:27017:sacred"),
        (
            MongoAddress("mongodb://me@host/mine", db_name="mine", uri_env="URL"),
            'MONGO_URI="$URL" omniboard',
        ),
        (
            MongoAddress("mongodb://me@host", uri_env="URL"),
            "MONGO_URI='mongodb://me:PASSWORD@host/sacred?authSource=admin' omniboard",
        ),
        (
            MongoAddress("mongodb://me@host/login", password_env="P"),
            "MONGO_URI='mongodb://me:PASSWORD@host/sacred?authSource=login' omniboard",
        ),
        (
            MongoAddress("mongodb://a,b/?replicaSet=rs"),
            "MONGO_URI='mongodb://a,b/sacred?replicaSet=rs' omniboard",
        ),
    ],
)
def test_omniboard_command(address, command):
    assert address.omniboard_command() == command


def test_omniboard_command_of_the_private_server_asks_our_own_command(tmp_path, monkeypatch):
    address = MongoAddress("mongodb://me@127.0.0.1:1", embedded=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    python = shlex.quote(sys.executable)
    command = f'MONGO_URI="$({python} -m sacred_ray_ingredient mongo uri)" omniboard'
    assert address.omniboard_command() == command
    (tmp_path / "sacred-ray").write_text("#!/bin/sh\n")
    (tmp_path / "sacred-ray").chmod(0o755)
    assert address.omniboard_command() == 'MONGO_URI="$(sacred-ray mongo uri)" omniboard'


def test_indexes_are_created_once_and_columns_stay_as_the_user_changed_them():
    database = mongomock.MongoClient().sacred
    for _ in range(2):
        ensure_indexes(database)
        register_omniboard_columns(database, {"trial": "meta.sweep.trial_index"}, ["val.loss"])
        database["omniboard.metric.columns"].update_one({}, {"$set": {"extrema": "min"}})
    keys = [index["key"] for index in database.runs.index_information().values()]
    assert keys == [
        [("_id", 1)],
        [("meta.sweep.sweep_id", 1), ("meta.sweep.trial_index", 1)],
        [("omniboard.tags", 1)],
        [("meta.record.journal", 1)],
    ]
    chunks = [index["key"] for index in database["fs.chunks"].index_information().values()]
    assert chunks == [[("_id", 1)], [("files_id", 1), ("n", 1)]]
    assert [("run_id", 1), ("name", 1)] in [
        index["key"] for index in database.metrics.index_information().values()
    ]
    columns = list(database["omniboard.custom.columns"].find({}, {"_id": 0}))
    assert columns == [{"name": "trial", "config_path": "meta.sweep.trial_index"}]
    metrics = list(database["omniboard.metric.columns"].find({}, {"_id": 0}))
    assert metrics == [{"name": "val_loss", "metric_name": "val.loss", "extrema": "min"}]


def test_a_journal_has_one_document_and_runs_of_others_need_none():
    database = mongomock.MongoClient().sacred
    ensure_indexes(database)
    for run_id in (1, 2):
        database.runs.insert_one({"_id": run_id})
    database.runs.insert_one({"_id": 3, "meta": {"record": {"journal": "a"}}})
    with pytest.raises(DuplicateKeyError, match="E11000"):
        database.runs.insert_one({"_id": 4, "meta": {"record": {"journal": "a"}}})


def test_a_part_of_a_file_is_stored_once():
    database = mongomock.MongoClient().sacred
    ensure_indexes(database)
    database["fs.chunks"].insert_one({"files_id": 1, "n": 0})
    with pytest.raises(DuplicateKeyError, match="E11000"):
        database["fs.chunks"].insert_one({"files_id": 1, "n": 0})


def test_project_folder_is_found_from_below(tmp_path, monkeypatch):
    monkeypatch.delenv("SACRED_RAY_HOME", raising=False)
    below = tmp_path / "project" / "package" / "module"
    below.mkdir(parents=True)
    (tmp_path / "project" / "setup.cfg").touch()
    assert project_folder(below) == tmp_path / "project" / ".sacred_ray"
    (tmp_path / "project" / "package" / ".sacred_ray").mkdir()
    assert project_folder(below) == tmp_path / "project" / "package" / ".sacred_ray"
    monkeypatch.setenv("SACRED_RAY_HOME", str(tmp_path / "home"))
    assert project_folder(below) == tmp_path / "home" / ".sacred_ray"


def test_project_folder_is_private_and_ignored_by_git(tmp_path):
    folder = create_project_folder(tmp_path / "project" / ".sacred_ray")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / ".gitignore").read_text() == "*\n"


def test_missing_mongod_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        DatabaseError, match=r"sacred_ray_ingredient\[mongod\].* or record to files"
    ):
        find_mongod()


def test_mongod_without_run_bit_in_a_read_only_place_is_copied(monkeypatch, tmp_path):
    program = tmp_path / "site" / "db" / "bin" / "mongod"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o444)

    class Spec:
        submodule_search_locations = (str(tmp_path / "site"),)

    def read_only(self, mode):
        if self == program:
            raise PermissionError(1, "Operation not permitted")
        return chmod(self, mode)

    chmod = type(program).chmod
    monkeypatch.setattr(type(program), "chmod", read_only)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: Spec)
    found = find_mongod(tmp_path / ".sacred_ray")
    assert found == tmp_path / ".sacred_ray" / "bin" / "mongod"
    assert found.stat().st_mode & 0o700 == 0o700


def test_importing_imports_neither_pymongo_nor_ray():
    program = (
        "import sys, json, sacred_ray_ingredient.mongo, sacred_ray_ingredient.cli;"
        "print(json.dumps([name for name in ('pymongo', 'ray') if name in sys.modules]))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(printed.stdout) == []
