"""What the sweep hears of Tune's trials."""

from types import SimpleNamespace

import pytest

from sacred_ray_ingredient.engines.tune import _ToListener
from sacred_ray_ingredient.tasks import Ending, TrialTask


class Listener:
    """Keeps what it hears."""

    def __init__(self):
        self.finished = []

    def trial_finished(self, outcome):
        self.finished.append(outcome)


@pytest.mark.parametrize(
    ("status", "ending", "expected"),
    [
        ("COMPLETED", None, ("COMPLETED", None, None)),
        ("TIMEOUT", None, ("TIMEOUT", None, None)),
        ("RUNNING", Ending("stop", "seen enough"), ("COMPLETED", "seen enough", None)),
        (
            "RUNNING",
            Ending("pause", "paused at step=2"),
            ("COMPLETED", "not continued after it was paused at step=2", None),
        ),
        (
            "RUNNING",
            None,
            (
                "INTERRUPTED",
                None,
                "Ray Tune ended it before its last report, which nothing here had decided",
            ),
        ),
    ],
)
def test_how_a_trial_has_ended(status, ending, expected):
    listener = Listener()
    endings = SimpleNamespace(ending=lambda trial: ending)
    callback = _ToListener(SimpleNamespace(scheduler=None), listener, endings)
    trial = SimpleNamespace(
        trial_id="a",
        config=TrialTask(3, {}, {}, 1).to_config(),
        last_result={"status": status, "attempt": 0, "run_id": 7},
    )
    callback.on_trial_complete(1, [], trial)
    (outcome,) = listener.finished
    assert (outcome.status, outcome.stop_reason, outcome.error) == expected
    assert (outcome.index, outcome.run_id) == (3, 7)
