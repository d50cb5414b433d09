"""What the driver and the workers tell each other."""

import pickle

from sacred_ray_ingredient.inner import InnerReference
from sacred_ray_ingredient.mongo import MongoAddress
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.tasks import TASK_KEY, SweepTask, TrialTask

TRIAL = TrialTask(
    index=3,
    sampled={"optimizer": {"lr": 0.5}},
    resolved={"optimizer": {"decay": 0.25}},
    seed=11,
    attempt=2,
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
