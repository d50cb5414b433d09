"""What is left to do of a sweep: of its samples, its choices and its last evaluation."""

import pytest

from sacred_ray_ingredient.record.earlier import RecordedAttempt
from sacred_ray_ingredient.restart import (
    Restart,
    counts,
    outcome_of,
    recorded_trials,
    restart_of_samples,
)
from sacred_ray_ingredient.restart_search import restart_of_suggestions
from sacred_ray_ingredient.sampling import Sampling
from sacred_ray_ingredient.search_space import parse_search_space


def attempt(index, status="COMPLETED", number=0, segment=0, **further):
    further.setdefault("configuration", index)
    return RecordedAttempt(index, number, segment, status, run_id=100 + index, **further)


def sampling(num_samples=1, space=None, **further):
    read, mistakes = parse_search_space({"k": [0, 1, 2, 3]} if space is None else space)
    assert mistakes == []
    return Sampling(read, num_samples, 1, **further)


def restart(*attempts, retry_failed=False):
    search, evaluations = recorded_trials(attempts, retry_failed)
    return Restart(("outer",), search, evaluations)


def left(made, samples):
    return [(t.index, t.attempt, t.sample.sampled) for t in made.trials(samples.samples())]


class TestWhatIsDone:
    @pytest.mark.parametrize(
        ("status", "tags", "done"),
        [
            ("COMPLETED", (), True),
            ("COMPLETED", ("early-stopped",), True),
            ("COMPLETED", ("paused",), False),
            ("COMPLETED", ("paused", "early-stopped"), True),
            ("FAILED", (), True),
            ("TIMEOUT", (), True),
            ("INTERRUPTED", (), False),
            ("RUNNING", (), False),
        ],
    )
    def test_follows_from_the_last_attempt(self, status, tags, done):
        search, _ = recorded_trials([attempt(0, status, tags=tags)], retry_failed=False)
        assert search[0].is_done is done

    @pytest.mark.parametrize("status", ["FAILED", "TIMEOUT"])
    def test_does_not_include_what_failed_where_that_is_tried_again(self, status):
        search, _ = recorded_trials([attempt(0, status)], retry_failed=True)
        assert not search[0].is_done

    def test_is_what_the_latest_attempt_and_segment_say(self):
        attempts = [attempt(0, number=1, tags=("paused",)), attempt(0, number=1, segment=1)]
        search, _ = recorded_trials([*attempts, attempt(0, "FAILED")], retry_failed=True)
        assert search[0].is_done

    def test_is_counted(self):
        made = restart(attempt(0), attempt(1, "FAILED"), attempt(2, "RUNNING"), attempt(3))
        assert counts(made) == {"finished": 2, "failed": 1, "unfinished": 1}


class TestSamples:
    def test_what_is_not_recorded_is_run_first_time_and_the_rest_again(self):
        made = restart(attempt(0), attempt(2, "INTERRUPTED", number=4, sampled={"k": 2}))
        expected = [(1, 0, {"k": 1}), (2, 5, {"k": 2}), (3, 0, {"k": 3})]
        assert left(made, sampling()) == expected

    def test_more_samples_go_on_behind(self):
        made = restart(*map(attempt, range(4)))
        assert [index for index, *_ in left(made, sampling(num_samples=2))] == [4, 5, 6, 7]

    def test_trials_of_the_best_configuration_keep_their_indices(self):
        best = attempt(4, tags=("evaluate-best",), configuration=1)
        made = restart(*map(attempt, range(4)), best)
        assert [index for index, *_ in left(made, sampling(num_samples=2))] == [5, 6, 7, 8]

    def test_a_trial_goes_on_from_its_latest_checkpoint(self):
        attempts = [
            attempt(0, "FAILED", checkpoint="/first"),
            attempt(0, "INTERRUPTED", number=1, checkpoint="/second"),
            attempt(0, "INTERRUPTED", number=2),
        ]
        (first, *_) = restart(*attempts).trials(sampling().samples())
        assert (first.attempt, first.restore_from) == (3, "/second")

    def test_a_trial_goes_on_with_what_a_scheduler_made_of_it(self):
        attempts = [
            attempt(0, tags=("paused",), sampled={"k": 0}),
            attempt(0, "INTERRUPTED", segment=1, sampled={"k": 77}),
        ]
        (first, *_) = restart(*attempts).trials(sampling().samples())
        assert first.sample.sampled == {"k": 77}

    def test_the_total_counts_what_is_done(self):
        assert restart(attempt(0)).total(4) == 4


class TestChangedSpace:
    def test_the_same_points_of_a_grid_are_done_wherever_they_are_now(self):
        recorded = [attempt(0, sampled={"k": 0}), attempt(1, sampled={"k": 3})]
        made = restart_of_samples(restart(*recorded), sampling(), space_changed=True)
        assert left(made, sampling()) == [(2, 0, {"k": 1}), (3, 0, {"k": 2})]
        assert made.total(4) == 4

    def test_what_is_drawn_counts_by_its_number(self):
        drawn = sampling(3, space={"x": "uniform(0, 1)"})
        recorded = [attempt(0, sampled={"x": 7.0}), attempt(1, "RUNNING", sampled={"x": 8.0})]
        made = restart_of_samples(restart(*recorded), drawn, space_changed=True)
        samples = [sample.sampled for sample in drawn.samples()]
        assert left(made, drawn) == [(1, 1, samples[1]), (2, 0, samples[2])]

    def test_no_mean_mixes_old_and_new_configurations(self):
        recorded = [attempt(0, sampled={"k": 9})]
        made = restart_of_samples(restart(*recorded), sampling(), space_changed=True)
        numbers = {trial.sample.configuration for trial in made.trials([])}
        assert len(numbers) == 4
        assert 0 not in numbers

    def test_what_the_new_space_does_not_have_stays_counted(self):
        recorded = [attempt(0, sampled={"k": 9})]
        made = restart_of_samples(restart(*recorded), sampling(), space_changed=True)
        assert made.total(4) == 5


SPACE = {"x": "uniform(0, 10)"}


def choices(*attempts, num_samples=5, space=SPACE, **further):
    made = sampling(num_samples, space=space, **further)
    return restart_of_suggestions(restart(*attempts), made, ["loss"], "sweep-1")


class TestChoices:
    def test_finished_ones_are_told_and_others_run_again(self):
        made = choices(
            attempt(0, sampled={"x": 1.0}, metrics={"loss": 4.0}),
            attempt(1, "RUNNING", sampled={"x": 2.0}, metrics={"loss": 9.0}),
        )
        assert made.earlier == (({"x": 1.0}, [4.0]),)
        (again,) = made.suggestions
        assert again.values == {"x": 2.0}
        (trial,) = again.trials
        assert (trial.index, trial.attempt, trial.sample.configuration) == (1, 1, 1)
        assert (made.asked, made.next_configuration, made.next_index) == (2, 2, 2)

    def test_failed_ones_are_neither_told_nor_run_again(self):
        made = choices(attempt(0, "FAILED", sampled={"x": 1.0}, metrics={"loss": 4.0}))
        assert (made.earlier, made.suggestions, made.asked) == ((), (), 1)

    def test_of_one_that_is_half_done_the_rest_is_run(self):
        made = choices(
            attempt(0, configuration=0, sampled={"x": 1.0}, metrics={"loss": 4.0}),
            attempt(1, "RUNNING", configuration=0, repetition=1, sampled={"x": 1.0}),
            repeat=3,
        )
        (again,) = made.suggestions
        assert again.measured == ([4.0],)
        assert again.total == 3
        places = [(t.index, t.attempt, t.sample.repetition) for t in again.trials]
        assert places == [(1, 1, 1), (2, 0, 2)]
        assert made.earlier == ()

    def test_the_points_of_a_grid_are_one_choice_also_where_the_first_left_no_document(self):
        space = {**SPACE, "k": [7, 8]}
        made = choices(
            attempt(1, configuration=1, sampled={"x": 1.0, "k": 8}, metrics={"loss": 2.0}),
            attempt(2, configuration=2, sampled={"x": 3.0, "k": 7}, metrics={"loss": 3.0}),
            attempt(3, configuration=3, sampled={"x": 3.0, "k": 8}, metrics={"loss": 5.0}),
            space=space,
        )
        assert made.asked == 2
        (again,) = made.suggestions
        (trial,) = again.trials
        assert (trial.index, trial.sample.configuration) == (4, 0)
        assert trial.sample.sampled == {"x": 1.0, "k": 7}
        assert [values for values, _ in made.earlier] == [{"x": 3.0}] * 2
        assert made.next_configuration == 4

    def test_what_no_longer_lies_in_the_space_is_not_run_again(self):
        made = choices(attempt(0, "RUNNING", sampled={"x": 11.0}))
        assert (made.suggestions, made.asked) == ((), 1)


def test_an_outcome_of_what_a_dead_driver_left_is_not_running():
    outcome = outcome_of(
        attempt(
            3,
            "RUNNING",
            sampled={"a": {"b": 1}},
            named_configs=("fast",),
            seed=9,
            metrics={"loss": 1.0},
        )
    )
    assert (outcome.index, outcome.status, outcome.seed) == (3, "INTERRUPTED", 9)
    assert outcome.parameters == {"named_configs": "fast", "a.b": 1}
    assert outcome.metrics == {"loss": 1.0}
