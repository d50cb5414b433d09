"""Scalars of a trial on their way to the reporter, with and without somebody who waits for them."""

from types import SimpleNamespace

import numpy as np
import pytest
from sacred.metrics_logger import MetricsLogger

from sacred_ray_ingredient.metrics import StepReporter
from sacred_ray_ingredient.trial import _forward_metrics, _NextCheckpoint


@pytest.fixture
def forwarding(reports):
    """Return a function that makes a logger whose scalars are forwarded, and its checkpoint."""

    def forwarding(is_watched=False, every_s=1000.0):
        logger = MetricsLogger()
        checkpoint = _NextCheckpoint()
        reporter = StepReporter(
            reports.append, every_s, clock=lambda: 0.0, is_urgent=checkpoint.join_step
        )
        if not is_watched:
            reporter.wait()
        _forward_metrics(SimpleNamespace(_metrics=logger), reporter, checkpoint)
        return logger, reporter, checkpoint

    return forwarding


@pytest.mark.parametrize("is_watched", [False, True])
@pytest.mark.parametrize(("value", "kept"), [(0.5, 0.5), (2, 2.0), (np.float32(0.25), 0.25)])
def test_the_last_values_are_known(forwarding, is_watched, value, kept):
    logger, reporter, _ = forwarding(is_watched)
    logger.log_scalar_metric("loss", -1.0)
    logger.log_scalar_metric("loss", value)
    logger.log_scalar_metric("flag", True, 9)
    assert (reporter.latest, reporter.step) == ({"loss": kept}, 1)
    assert type(reporter.latest["loss"]) is float
    assert [entry.value for entry in logger.get_last_metrics()] == [-1.0, value, True]


def test_nobody_who_waits_gets_no_report_before_its_time(forwarding, reports):
    logger, _, _ = forwarding()
    for step in range(5):
        logger.log_scalar_metric("loss", 0.5, step)
    assert reports == []


def test_who_waits_gets_the_first_one_at_once(forwarding, reports):
    logger, _, _ = forwarding(is_watched=True)
    for step in range(5):
        logger.log_scalar_metric("loss", 0.5, step)
    assert reports == [{"loss": 0.5, "step": 0}]


def test_a_checkpoint_is_reported_with_its_step_though_nobody_waits(forwarding, reports, tmp_path):
    logger, _, checkpoint = forwarding()
    saved = tmp_path / "saved"
    saved.mkdir()
    with checkpoint:
        for step in range(3):
            logger.log_scalar_metric("loss", step / 2, step)
        checkpoint.keep(saved)
        logger.log_scalar_metric("loss", 1.5, 3)
        logger.log_scalar_metric("loss", 2.0, 4)
    assert {"loss": 1.5, "step": 3} in reports
