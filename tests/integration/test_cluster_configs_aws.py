"""aws.yaml against a fake AWS: what Ray makes there before it starts the first machine."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto")

pytestmark = pytest.mark.integration

FILE = Path(__file__).parents[2] / "cluster_configs" / "aws.yaml"
TYPES = ("m6i.large", "c6i.2xlarge")


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """Stand in for AWS, for a user with an empty home folder."""
    from moto.ec2.models.instance_types import InstanceType, InstanceTypeBackend
    from ray.autoscaler._private.aws import config, utils

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    # Ray waits half a minute for a new role to be known everywhere.
    monkeypatch.setattr(config, "time", SimpleNamespace(sleep=lambda seconds: None))
    # Of AWS' thousand types of machines ours are enough, and of the images an own one.
    ours = [InstanceType(name) for name in TYPES]
    monkeypatch.setattr(InstanceTypeBackend, "instance_types", ours)
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with moto.mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        yield boto3.resource("ec2", region_name="us-west-2")
    for cached in (utils.resource_cache, utils.client_cache, config._get_subnets_or_die):
        cached.cache_clear()


@pytest.fixture
def given(aws):
    """Read the file, with an image that the fake AWS has."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    image = aws.register_image(Name="ubuntu", Architecture="x86_64").id
    text = FILE.read_text("utf-8").replace("ami-REPLACE-ME", image)
    config = prepare_config(yaml.safe_load(text))
    validate_config(config)
    return config


def bootstrapped(config):
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    return AWSNodeProvider.bootstrap_config(copy.deepcopy(config))


def the_group(aws):
    (group,) = aws.security_groups.filter(
        Filters=[{"Name": "group-name", "Values": ["sacred-ray"]}]
    )
    return group


def open_to(group, network):
    return [
        rule.get("FromPort")
        for rule in group.ip_permissions
        if network in [each["CidrIp"] for each in rule.get("IpRanges", ())]
    ]


def test_ray_makes_key_role_and_group_and_fills_in_the_nodes(aws, given, tmp_path):
    config = bootstrapped(given)
    key = Path(config["auth"]["ssh_private_key"])
    assert key.parent == tmp_path / ".ssh"
    assert key.stat().st_mode & 0o077 == 0
    (pair,) = aws.key_pairs.all()
    (profile,) = boto3.client("iam").list_instance_profiles()["InstanceProfiles"]
    assert config["head_node"]["IamInstanceProfile"] == {"Arn": profile["Arn"]}
    for node_type in config["available_node_types"].values():
        node = node_type["node_config"]
        assert node["KeyName"] == pair.name
        assert node["SubnetIds"]
        assert node["SecurityGroupIds"] == [the_group(aws).id]
    # A trial is somebody's code: its machine may not do anything to the account.
    assert "IamInstanceProfile" not in config["available_node_types"]["worker"]["node_config"]


def test_ray_knows_how_many_trials_a_worker_has_room_for(given):
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    filled = AWSNodeProvider.fillout_available_node_types_resources(given)
    head, worker = (
        filled["available_node_types"][kind]["resources"] for kind in ("head", "worker")
    )
    assert head["CPU"] == 0
    assert worker["CPU"] == 8
    assert worker["memory"] > 8 * 2**30


def test_without_the_group_of_the_readme_the_world_reaches_ssh_alone(aws, given):
    bootstrapped(given)
    assert open_to(the_group(aws), "0.0.0.0/0") == [22]


def test_the_group_of_the_readme_stays_as_it_is(aws, given):
    vpc = next(iter(aws.vpcs.filter(Filters=[{"Name": "is-default", "Values": ["true"]}])))
    group = aws.create_security_group(GroupName="sacred-ray", Description="Ray", VpcId=vpc.id)
    own = {"CidrIp": "192.0.2.7/32"}
    group.authorize_ingress(
        IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [own]},
            {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group.id}]},
        ]
    )
    config = bootstrapped(given)
    for node_type in config["available_node_types"].values():
        assert node_type["node_config"]["SecurityGroupIds"] == [group.id]
    group.reload()
    assert open_to(group, "0.0.0.0/0") == []
    assert open_to(group, "192.0.2.7/32") == [22]


def test_ray_starts_a_head_on_demand_and_a_worker_on_the_spot_market(aws, given):
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler.tags import TAG_RAY_LAUNCH_CONFIG, TAG_RAY_NODE_KIND

    config = bootstrapped(given)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for kind in ("head", "worker"):
        node = config["available_node_types"][kind]["node_config"]
        tags = {TAG_RAY_NODE_KIND: kind, TAG_RAY_LAUNCH_CONFIG: "0"}
        (name,) = provider.create_node(node, tags, 1)
        started = aws.Instance(name)
        assert started.instance_type == node["InstanceType"]
        assert (started.instance_lifecycle == "spot") == (kind == "worker")
        provider.terminate_node(name)
    assert provider.non_terminated_nodes({}) == []
