"""What the driver and the workers tell each other."""

import pickle

import pytest

from sacred_ray_ingredient.inner import InnerReference
from sacred_ray_ingredient.mongo import MongoAddress
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.tasks import TASK_KEY, Ending, SweepTask, TrialTask

TRIAL = TrialTask(
    index=3,
    sampled={"optimizer": {"lr": 0.5}},
    resolved={"optimizer": {"decay": 0.25}},
    seed=11,
    attempt=2,
    segment=1,
    configuration=2,
    repetition=1,
    named_configs=("fast",),
    taken_over="takes over trial 1, decided by pbt",
)


def test_a_trial_is_read_back_from_its_tune_config():
    assert TrialTask.from_config(TRIAL.to_config()) == TRIAL


def test_a_tune_config_has_the_parameters_at_the_top():
    config = TRIAL.to_config()
    del config[TASK_KEY]
    assert config == {"seed": 11, "optimizer": {"lr": 0.5, "decay": 0.25}} == TRIAL.parameters()


def test_resolved_parameters_win_over_sampled_ones():
    trial = TrialTask(0, sampled={"seed": 1, "a": 1}, resolved={"a": 2}, seed=9)
    assert trial.parameters() == {"seed": 1, "a": 2}


def test_a_sweep_travels_to_its_workers():
    sweep = SweepTask(
        sweep_id="sweep-1",
        exp_name="name",
        engine="tune",
        inner=InnerReference("ex", module="module"),
        options={"--force": True},
        target=RecordTarget(MongoAddress("mongodb://unit.test/")),
        folder="/project",
    )
    assert pickle.loads(pickle.dumps(sweep)) == sweep


class TestShown:
    """What tables show of a trial."""

    def test_are_the_named_configs_and_the_parameters_by_dotted_path(self):
        assert TRIAL.shown() == {
            **{"named_configs": "fast", "optimizer.lr": 0.5, "optimizer.decay": 0.25}
        }

    def test_several_named_configs_share_a_column(self):
        trial = TrialTask(0, {}, {}, 1, named_configs=("fast", "big"))
        assert trial.shown() == {"named_configs": "fast, big"}

    def test_without_named_configs_there_is_no_column(self):
        assert TrialTask(0, {"a": 1}, {}, 1).shown() == {"a": 1}


def test_updates_of_the_trial_win_over_those_of_the_sweep():
    trial = TrialTask(0, {"a": 1}, {"b": {"c": 2}}, 5, updates={"a": 9, "b": {"d": 8}})
    assert trial.config_updates() == {"seed": 5, "a": 1, "b": {"c": 2, "d": 8}}


@pytest.mark.parametrize(
    ("kind", "status", "tags"),
    [
        ("stop", "COMPLETED", ["early-stopped"]),
        ("pause", "COMPLETED", ["paused"]),
        ("interrupt", "INTERRUPTED", []),
    ],
)
def test_an_ending_decides_the_status_and_the_tags(kind, status, tags):
    ending = Ending(kind, "because")
    assert (ending.status, ending.tags) == (status, tags)
