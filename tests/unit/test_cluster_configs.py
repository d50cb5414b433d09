"""The files of cluster_configs: what Ray, KubeRay, Kubernetes and Compose take, and our rules."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from kuberay_schema import schema_of

import sacred_ray_ingredient

FOLDER = Path(__file__).parents[2] / "cluster_configs"
ROOT = FOLDER.parent
CLOUDS = ["aws.yaml", "gcp.yaml"]
LAUNCHED = [*CLOUDS, "on_premises.yaml"]
FILES = sorted(path.name for path in FOLDER.iterdir() if path.is_file())
SECTIONS = [*LAUNCHED, "kuberay.yaml", "docker-compose.yaml"]
ADDRESSES = {
    "HEAD-ADDRESS": "192.0.2.1",
    "WORKER-1-ADDRESS": "192.0.2.2",
    "WORKER-2-ADDRESS": "192.0.2.3",
    "SSH-USER": "someone",
}


def text_of(name):
    return (FOLDER / name).read_text(encoding="utf-8")


def launched(name):
    """Read a file of the cluster launcher, with the example values that a user would put in."""
    text = text_of(name)
    for placeholder, value in ADDRESSES.items():
        text = text.replace(placeholder, value)
    return yaml.safe_load(text)


def checked(config):
    """Do what `ray up` does with a file before it talks to anyone."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


class TestLaunchedByRay:
    @pytest.mark.parametrize("name", LAUNCHED)
    def test_ray_takes_it(self, name):
        assert checked(launched(name))["cluster_name"] == "sacred-ray"

    @pytest.mark.parametrize("name", CLOUDS)
    def test_ray_refuses_what_files_looked_like_before(self, name):
        config = launched(name)
        for new in ("available_node_types", "head_node_type"):
            del config[new]
        config |= {
            "initial_workers": 1,
            "autoscaling_mode": "default",
            "target_utilization_fraction": 0.8,
            "head_node": {"InstanceType": "m5.large"},
            "worker_nodes": {"InstanceType": "m5.large"},
        }
        with pytest.raises(jsonschema.ValidationError, match="initial_workers"):
            checked(config)

    @pytest.mark.parametrize("name", CLOUDS)
    def test_workers_come_and_go_and_the_head_runs_no_trials(self, name):
        prepared = checked(launched(name))
        head, worker = (prepared["available_node_types"][kind] for kind in ("head", "worker"))
        assert prepared["head_node_type"] == "head"
        assert head["resources"] == {"CPU": 0}
        assert head["max_workers"] == 0
        assert (worker["min_workers"], worker["max_workers"]) == (0, prepared["max_workers"])
        assert prepared["idle_timeout_minutes"] <= 10

    def test_workers_are_bought_on_the_spot_market_and_the_head_is_not(self):
        aws, gcp = (launched(name)["available_node_types"] for name in CLOUDS)
        assert aws["worker"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert gcp["worker"]["node_config"]["scheduling"]["provisioningModel"] == "SPOT"
        assert "InstanceMarketOptions" not in aws["head"]["node_config"]
        assert "scheduling" not in gcp["head"]["node_config"]

    def test_all_given_machines_are_used(self):
        prepared = checked(launched("on_premises.yaml"))
        (kind,) = prepared["available_node_types"].values()
        assert kind["min_workers"] == kind["max_workers"] == prepared["max_workers"] == 2

    @pytest.mark.parametrize("name", LAUNCHED)
    def test_what_is_copied_exists_and_is_all_that_the_installation_needs(self, name):
        mounts = launched(name)["file_mounts"]
        ours = {remote: local for remote, local in mounts.items() if not local.startswith("~")}
        assert all((ROOT / local).exists() for local in ours.values())
        for needed in ("pyproject.toml", "setup.cfg", "setup.py", "README.md"):
            assert ours[f"~/project/{needed}"] == needed
        package = Path(sacred_ray_ingredient.__file__).parent.name
        assert ours[f"~/project/{package}"] == package

    @pytest.mark.parametrize("name", LAUNCHED)
    def test_the_commands_are_shell_and_install_the_ray_that_the_package_needs(self, name):
        prepared = checked(launched(name))
        commands = [
            *prepared["initialization_commands"],
            *prepared["head_setup_commands"],
            *prepared["worker_setup_commands"],
            *prepared["head_start_ray_commands"],
            *prepared["worker_start_ray_commands"],
        ]
        subprocess.run(["bash", "-n", "-c", "\n".join(commands)], check=True)
        for kind in ("head", "worker"):
            setup = "\n".join(prepared[f"{kind}_setup_commands"])
            assert f'"ray[default]=={ray_release()}.*" --editable ~/project' in setup
            assert "node_environment.sh" in setup

    @pytest.mark.parametrize("name", LAUNCHED)
    def test_the_dashboard_listens_on_the_head_only(self, name):
        head, worker = (
            " ".join(checked(launched(name))[f"{kind}_start_ray_commands"])
            for kind in ("head", "worker")
        )
        assert "--dashboard-host=127.0.0.1" in head
        assert "0.0.0.0" not in head + worker

    def test_a_node_has_the_token_and_the_address_of_the_database(self, tmp_path):
        script = FOLDER / "node_environment.sh"
        (tmp_path / ".sacred_mongo_url").write_text("mongodb://db.example.org/sacred\n")
        shown = subprocess.run(
            ["bash", "-euc", f'. "{script}"; echo "$PATH|$RAY_AUTH_MODE|$SACRED_MONGO_URL"'],
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        path, mode, url = shown.strip().split("|")
        assert path.startswith(f"{tmp_path}/sacred_ray_venv/bin:")
        assert (mode, url) == ("token", "mongodb://db.example.org/sacred")
        for name in LAUNCHED:
            mounts = launched(name)["file_mounts"]
            assert mounts["~/.sacred_mongo_url"] == "~/.sacred_mongo_url"
            assert mounts["~/.ray/auth_token"] == "~/.ray/auth_token"


def ray_release():
    """Return the release of Ray that setup.cfg asks for, as 2.60."""
    found = re.search(r"ray\[tune\]>=(\d+\.\d+),", (ROOT / "setup.cfg").read_text("utf-8"))
    assert found is not None
    return found[1]


@pytest.fixture
def cluster():
    return next(yaml.safe_load_all(text_of("kuberay.yaml")))


@pytest.fixture
def job():
    return list(yaml.safe_load_all(text_of("kuberay.yaml")))[1]


class TestKubernetes:
    def groups(self, cluster):
        return [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]

    def pod_check(self, template):
        import kubernetes_validate

        resource = {
            "apiVersion": "v1",
            "kind": "PodTemplate",
            "metadata": {"name": "pod"},
            "template": template,
        }
        return kubernetes_validate.validate(resource, "1.33", strict=True)

    def test_kuberay_knows_all_fields(self, cluster, job):
        jsonschema.validate(cluster, schema_of("RayCluster"))
        jsonschema.validate(job, schema_of("RayJob"))

    def test_a_field_that_kuberay_does_not_know_is_found(self, cluster):
        cluster["spec"]["headGroupSpec"]["replicas"] = 1
        with pytest.raises(jsonschema.ValidationError, match="'replicas' was unexpected"):
            jsonschema.validate(cluster, schema_of("RayCluster"))

    def test_kubernetes_takes_the_pods(self, cluster):
        for group in self.groups(cluster):
            self.pod_check(group["template"])
            # The autoscaler wants a new pod for a new node.
            assert group["template"]["spec"]["restartPolicy"] == "Never"

    def test_a_pod_that_kubernetes_refuses_is_found(self, cluster):
        import kubernetes_validate

        template = cluster["spec"]["headGroupSpec"]["template"]
        template["spec"]["containers"][0]["enviroment"] = []
        with pytest.raises(kubernetes_validate.ValidationError, match="enviroment"):
            self.pod_check(template)

    def test_the_job_runs_a_sweep_on_this_cluster(self, cluster, job):
        assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
        assert re.fullmatch(
            r"python -m experiments\.outer .*ray\.address=auto", job["spec"]["entrypoint"]
        )
        steps = [resource["metadata"]["labels"]["step"] for resource in (cluster, job)]
        assert steps == ["cluster", "sweep"]

    def test_it_grows_from_no_worker_and_the_head_runs_no_trials(self, cluster):
        assert cluster["spec"]["enableInTreeAutoscaling"] is True
        (workers,) = cluster["spec"]["workerGroupSpecs"]
        assert workers["minReplicas"] == 0 < workers["maxReplicas"]
        assert cluster["spec"]["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}

    def test_it_asks_for_a_token_and_takes_the_url_from_a_secret(self, cluster):
        assert cluster["spec"]["authOptions"] == {"mode": "token"}
        for group in self.groups(cluster):
            (container,) = group["template"]["spec"]["containers"]
            variables = {each["name"]: each for each in container["env"]}
            secret = {"secretKeyRef": {"name": "sacred-mongo", "key": "url"}}
            assert variables["SACRED_MONGO_URL"]["valueFrom"] == secret
            assert container["resources"]["limits"]["cpu"]
            assert container["resources"]["limits"]["memory"]

    def test_ray_is_the_one_that_the_package_needs(self, cluster):
        assert cluster["spec"]["rayVersion"].startswith(f"{ray_release()}.")
        assert f"FROM rayproject/ray:{cluster['spec']['rayVersion']}-py" in text_of("Dockerfile")


@pytest.fixture
def compose():
    return yaml.safe_load(text_of("docker-compose.yaml"))


def compose_check(path):
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path],
        capture_output=True,
        text=True,
    )


class TestCompose:
    def test_it_keeps_the_specification_of_compose(self, tmp_path):
        done = compose_check(FOLDER / "docker-compose.yaml")
        assert done.returncode == 0, done.stdout
        wrong = tmp_path / "docker-compose.yaml"
        wrong.write_text(text_of("docker-compose.yaml").replace("depends_on", "depend_on"))
        assert "depend_on" in compose_check(wrong).stdout

    def test_it_has_a_database_omniboard_a_head_and_workers(self, compose):
        services = compose["services"]
        assert sorted(services) == ["head", "mongo", "omniboard", "worker"]
        assert services["mongo"]["image"].startswith("mongo:")
        assert services["omniboard"]["image"].startswith("vivekratnavel/omniboard:")
        assert "--head" in services["head"]["command"]
        assert "--address=head:6379" in services["worker"]["command"]

    def test_each_image_has_a_tag_or_is_built_here(self, compose):
        for service in compose["services"].values():
            assert re.fullmatch(r"[\w./-]+:[\w.-]+", service["image"])
        build = compose["services"]["worker"]["build"]
        assert (FOLDER / build["context"] / build["dockerfile"]).is_file()

    def test_what_the_image_copies_exists(self):
        sources = [
            source
            for line in re.findall(r"^COPY --chown=\S+ (.+)$", text_of("Dockerfile"), re.MULTILINE)
            for source in line.split()[:-1]
        ]
        assert "sacred_ray_ingredient" in sources
        assert all((ROOT / source).exists() for source in sources)

    def test_ports_are_open_to_this_machine_only(self, compose):
        ports = [port for each in compose["services"].values() for port in each.get("ports", ())]
        assert len(ports) == 2
        assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
        assert "ports" not in compose["services"]["mongo"]

    def test_each_service_has_a_health_check_that_others_wait_for(self, compose):
        services = compose["services"]
        assert all(service["healthcheck"]["test"] for service in services.values())
        for service in services.values():
            for name, wanted in service.get("depends_on", {}).items():
                assert wanted == {"condition": "service_healthy"}
                assert name in services

    def test_the_volumes_exist(self, compose):
        used = {
            mount.split(":")[0]
            for service in compose["services"].values()
            for mount in service.get("volumes", ())
            if not mount.startswith(".")
        }
        assert used == set(compose["volumes"])

    def test_each_variable_is_needed_or_has_a_default_and_is_described(self):
        used = set(re.findall(r"\$\{(\w+)(:[?-])?", text_of("docker-compose.yaml")))
        assert {name for name, _ in used} == {"MONGO_PASSWORD", "RAY_AUTH_TOKEN", "WORKER_CPUS"}
        for name, ending in used:
            assert ending == (":-" if name == "WORKER_CPUS" else ":?")
            assert name in text_of("README.md")

    def test_database_and_ray_ask_for_what_they_were_given(self, compose):
        services = compose["services"]
        password = "${MONGO_PASSWORD:?see README.md}"
        assert services["mongo"]["environment"]["MONGO_INITDB_ROOT_PASSWORD"] == password
        url = f"mongodb://sacred:{password}@mongo:27017/sacred?authSource=admin"
        assert services["omniboard"]["environment"]["MONGO_URI"] == url
        for name in ("head", "worker"):
            environment = services[name]["environment"]
            assert environment["SACRED_MONGO_URL"] == url
            assert environment["RAY_AUTH_MODE"] == "token"

    def test_git_does_not_take_the_passwords(self):
        command = ["git", "check-ignore", "--quiet", "cluster_configs/.env"]
        assert subprocess.run(command, cwd=ROOT).returncode == 0


class TestAllFiles:
    @pytest.mark.parametrize("name", FILES)
    def test_there_are_no_secrets_in_it(self, name):
        text = text_of(name)
        for url in re.findall(r"mongodb(?:\+srv)?://\S+", text):
            login = re.match(r"mongodb(?:\+srv)?://[^/@\s]*:([^@/\s]+)@", url)
            assert login is None or login[1].startswith(("${MONGO_PASSWORD", "PASSWORD"))
        assert not re.search(r"AKIA[0-9A-Z]{16}|-----BEGIN|\b[0-9a-f]{32,}\b", text)
        assert not re.search(r"(?i)(password|token|secret)\w*\s*[:=]\s*[\"']?[a-z0-9]{12,}", text)

    @pytest.mark.parametrize("name", FILES)
    def test_no_machine_of_ours_is_in_it(self, name):
        text = text_of(name)
        assert not re.search(r"/(?:root|work|Users|tmp/w)\b|/home/(?!ray\b|ubuntu\b)\w", text)
        addresses = set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text))
        assert addresses <= {"127.0.0.1", "0.0.0.0"}

    @pytest.mark.parametrize("name", [name for name in FILES if name != "README.md"])
    def test_the_readme_names_it(self, name):
        assert f"`{name}`" in text_of("README.md")

    @pytest.mark.parametrize("name", SECTIONS)
    def test_it_has_its_three_steps_and_says_what_it_costs(self, name):
        sections = re.split(r"^## ", text_of("README.md"), flags=re.MULTILINE)
        (section,) = [each for each in sections if f"`{name}`" in each.splitlines()[0]]
        steps = re.findall(r"^(\d)\. \*\*(\w+)", section, re.MULTILINE)
        assert steps == [("1", "Start"), ("2", "Check"), ("3", "Stop")]
        assert "python -m experiments.outer check with ray.address=auto" in section
        assert re.search(r"^\*\*Cost\.\*\*", section, re.MULTILINE)
        assert re.search(r"^\*\*Database\.\*\*", section, re.MULTILINE)
