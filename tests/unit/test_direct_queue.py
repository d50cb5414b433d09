"""What the direct engine runs next, and how many trials a worker gets at once."""

import itertools

import pytest

from sacred_ray_ingredient.engines.direct_queue import BatchSize, TaskQueue
from sacred_ray_ingredient.errors import ResolverError
from sacred_ray_ingredient.restart import PlannedTrial
from sacred_ray_ingredient.tasks import TrialTask


class Resolver:
    """Completes a trial whose sample is its parameters."""

    def __init__(self, wrong=()):
        self.wrong = set(wrong)
        self.completed = []

    def complete(self, index, sample):
        if index in self.wrong:
            raise ResolverError(f"trial {index} cannot be computed")
        self.completed.append(index)
        return TrialTask(index=index, sampled={"x": sample}, resolved={}, seed=index)


class Ids:
    """Reserves ids that follow each other, and keeps how many were asked for."""

    def __init__(self):
        self.asked = []
        self.next = 100

    def __call__(self, count):
        self.asked.append(count)
        first, self.next = self.next, self.next + count
        return range(first, self.next)


def planned(count):
    return (PlannedTrial(index, f"sample {index}") for index in range(count))


def drain(queue, count=3):
    taken = []
    while not queue.is_empty:
        taken += queue.take(count)
    return taken


class TestQueue:
    def test_gives_every_trial_once_in_order_with_the_ids_in_order(self):
        ids = Ids()
        taken = drain(TaskQueue(planned(1300), Resolver(), ids), count=7)
        assert [task.index for task in taken] == list(range(1300))
        assert [task.run_id for task in taken] == list(range(100, 1400))
        assert [task.sampled["x"] for task in taken[:2]] == ["sample 0", "sample 1"]

    def test_reserves_as_many_ids_as_there_are_trials_in_ever_larger_lots(self):
        ids = Ids()
        drain(TaskQueue(planned(1700), Resolver(), ids))
        assert ids.asked == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 512, 165]

    def test_asks_for_no_ids_where_nothing_is_left(self):
        ids = Ids()
        assert drain(TaskQueue(planned(3), Resolver(), ids)) != []
        assert ids.asked == [1, 2]

    def test_trials_without_reserved_ids_take_the_next_free_one(self):
        taken = drain(TaskQueue(planned(5), Resolver(), lambda count: None))
        assert [(task.index, task.run_id) for task in taken] == [(i, None) for i in range(5)]

    def test_makes_no_trial_before_it_is_needed(self):
        resolver = Resolver()
        queue = TaskQueue(planned(100), resolver, Ids())
        assert resolver.completed == []
        queue.take(1)
        assert resolver.completed == [0]
        assert [task.index for task in queue.take(9)] == [1, 2]
        assert resolver.completed == [0, 1, 2]

    def test_a_search_without_an_end_can_be_taken_from(self):
        endless = (PlannedTrial(index, None) for index in itertools.count())
        queue = TaskQueue(endless, Resolver(), Ids(), ahead=8)
        assert [task.index for task in queue.take(5)] == [0, 1, 2, 3, 4]
        assert not queue.is_empty

    def test_is_empty_without_trials(self):
        queue = TaskQueue(planned(0), Resolver(), Ids())
        assert queue.is_empty
        assert queue.take(3) == []

    @pytest.mark.parametrize("count", [1, 3, 7])
    def test_is_empty_after_the_last_trial_also_when_a_lot_ends_with_it(self, count):
        queue = TaskQueue(planned(count), Resolver(), Ids())
        assert len(drain(queue)) == count
        assert queue.is_empty

    def test_what_is_put_back_comes_next_in_its_order_with_its_ids(self):
        queue = TaskQueue(planned(6), Resolver(), Ids(), ahead=6)
        taken = queue.take(4)
        queue.put_back(taken[1:])
        assert not queue.is_empty
        again = drain(queue)
        assert [(task.index, task.run_id) for task in again] == [
            *[(1, 101), (2, 102), (3, 103), (4, 104), (5, 105)]
        ]

    def test_what_is_put_back_after_the_last_trial_is_left(self):
        ids = Ids()
        queue = TaskQueue(planned(1), Resolver(), ids)
        (task,) = queue.take(1)
        assert queue.is_empty
        queue.put_back([task])
        assert not queue.is_empty
        assert queue.take(5) == [task]
        assert queue.is_empty
        assert sum(ids.asked) == 1

    def test_a_planned_attempt_and_its_checkpoint_are_kept(self):
        again = iter([PlannedTrial(4, None, 2, "/there"), PlannedTrial(5, None, 1)])
        first, second = TaskQueue(again, Resolver(), Ids(), ahead=2).take(2)
        assert (first.index, first.attempt, first.restore_from, first.run_id) == (
            *(4, 2, "/there", 100),
        )
        assert (second.index, second.attempt, second.restore_from) == (5, 1, None)


class TestWhatCannotBeComputed:
    def test_is_told_after_the_trials_before_it_were_taken(self):
        ids = Ids()
        queue = TaskQueue(planned(10), Resolver(wrong={5}), ids, ahead=8)
        assert not queue.is_empty
        assert [task.index for task in queue.take(3)] == [0, 1, 2]
        assert not queue.is_empty
        assert [task.index for task in queue.take(3)] == [3, 4]
        for _ in range(2):
            with pytest.raises(ResolverError, match="trial 5 cannot be computed"):
                queue.take(1)
            with pytest.raises(ResolverError, match="trial 5 cannot be computed"):
                _ = queue.is_empty
        assert ids.asked == [5]

    def test_is_told_at_once_if_it_is_the_first(self):
        with pytest.raises(ResolverError, match="trial 0 cannot be computed"):
            TaskQueue(planned(3), Resolver(wrong={0}), Ids()).take(1)

    def test_does_not_hide_what_is_put_back(self):
        queue = TaskQueue(planned(3), Resolver(wrong={2}), Ids(), ahead=3)
        taken = queue.take(2)
        queue.put_back(taken)
        assert not queue.is_empty
        assert queue.take(2) == taken


class TestBatchSize:
    def test_is_one_as_long_as_nothing_is_known(self):
        sizes = BatchSize()
        assert (sizes.choose(1000, 2), sizes.batches_ahead(1000, 2)) == (1, 1)
        sizes.learn(0, 0.3)
        assert (sizes.choose(1000, 2), sizes.batches_ahead(1000, 2)) == (1, 1)

    @pytest.mark.parametrize(("seconds", "size"), [(0.0025, 100), (0.01, 25), (0.1, 2), (3.0, 1)])
    def test_takes_a_quarter_of_a_second(self, seconds, size):
        sizes = BatchSize()
        sizes.learn(10, 10 * seconds)
        assert sizes.choose(10_000, 2) == size

    @pytest.mark.parametrize("seconds", [0.0, 1e-6])
    def test_has_an_upper_limit(self, seconds):
        sizes = BatchSize()
        sizes.learn(10, seconds)
        assert sizes.choose(10**6, 2) == 200

    @pytest.mark.parametrize("most", [1, 5])
    def test_is_never_more_than_allowed(self, most):
        sizes = BatchSize(most=most)
        assert sizes.choose(1000, 2) == 1
        sizes.learn(100, 0.1)
        assert sizes.choose(1000, 2) == most
        sizes.learn(100, 0.0)
        assert sizes.choose(1000, 2) == most

    @pytest.mark.parametrize(
        ("left", "workers", "size"), [(40, 2, 10), (41, 2, 11), (8, 4, 1), (9, 4, 2), (1, 4, 1)]
    )
    def test_is_fair_at_the_end(self, left, workers, size):
        sizes = BatchSize()
        sizes.learn(100, 0.1)
        assert sizes.choose(left, workers) == size

    @pytest.mark.parametrize(("left", "workers"), [(0, 2), (-3, 2), (5, 0)])
    def test_is_never_less_than_one(self, left, workers):
        sizes = BatchSize()
        sizes.learn(100, 0.1)
        assert sizes.choose(left, workers) >= 1

    def test_all_are_handed_out_in_shrinking_batches(self):
        sizes = BatchSize()
        sizes.learn(100, 0.1)
        left, given = 300, []
        while left:
            given.append(sizes.choose(left, 2))
            left -= given[-1]
        assert given == sorted(given, reverse=True)
        assert (given[0], given[-1]) == (75, 1)

    @pytest.mark.parametrize(("seconds", "ahead"), [(0.001, 2), (0.12, 2), (0.13, 1), (60.0, 1)])
    def test_at_the_end_only_short_trials_wait_behind_others(self, seconds, ahead):
        sizes = BatchSize()
        sizes.learn(1, seconds)
        assert sizes.batches_ahead(8, 2) == ahead

    @pytest.mark.parametrize(("seconds", "ahead"), [(0.001, 2), (9.0, 2), (11.0, 1)])
    def test_far_from_the_end_a_worker_need_not_wait_for_the_driver(self, seconds, ahead):
        sizes = BatchSize()
        sizes.learn(1, seconds)
        assert sizes.batches_ahead(9, 2) == ahead

    def test_follows_trials_that_become_longer(self):
        sizes = BatchSize()
        sizes.learn(100, 0.1)
        before = sizes.choose(10_000, 2)
        sizes.learn(1, 0.101)
        assert before == 200
        assert sizes.choose(10_000, 2) == 8  # 0.001 + 0.3 * 0.1 s each
        for _ in range(30):
            sizes.learn(1, 1.0)
        assert (sizes.choose(10_000, 2), sizes.batches_ahead(8, 2)) == (1, 1)
