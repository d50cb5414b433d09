"""The driver's hand on the record: what workers could not write themselves, and what they left."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sacred_ray_ingredient.metrics import result_metrics
from sacred_ray_ingredient.record.amendments import DIED, NOT_CONTINUED
from sacred_ray_ingredient.record.arrivals import Arrivals
from sacred_ray_ingredient.record.documents import utc_now
from sacred_ray_ingredient.record.earlier import last_values
from sacred_ray_ingredient.record.journal import SUFFIX, DeadJournal, Journal, is_alive, journals_in
from sacred_ray_ingredient.record.observer import RunObserver
from sacred_ray_ingredient.record.reconcile import (
    close_dead_runs,
    recorded_statuses,
    telling_of_outages,
)
from sacred_ray_ingredient.record.run_state import RunState
from sacred_ray_ingredient.record.shipment import Shipment
from sacred_ray_ingredient.record.sync import OUTER, discard_unbegun, driver_file, write_end
from sacred_ray_ingredient.record.target import RecordTarget, shipper_for
from sacred_ray_ingredient.tasks import TrialOutcome

# How long a message about a dead trial waits for the run's id.
_SHORT_S = 2.0
# How long the end of a sweep waits for a database that is away, as a multiple of a run's wait.
_WAITS = 4
# Workers of a Ray that goes on after the sweep bring their last journals themselves.
_WORKERS_S = 10.0
_DIED_EARLY = "The worker process died before it could begin."
_ENDED_WITH_SWEEP = "The sweep ended before this trial did."


class SweepRecord:
    """The record of one sweep, for its driver.

    Parameters
    ----------
    target
        Where the trials are recorded.
    sweep_id
        The sweep.
    observer
        Of the outer run; what cannot be written now goes into its journal. None where the user's
        main function runs without one.
    say
        Prints a line for the user.
    write_missing
        Writes the document of an attempt whose worker died before it could begin one, with the
        reason; returns the run id.
    """

    def __init__(
        self,
        target: RecordTarget,
        sweep_id: str,
        observer: RunObserver | None,
        say: Callable[[str], None],
        write_missing: Callable[[TrialOutcome, str], int | None] = lambda outcome, reason: None,
    ) -> None:
        if target.address is None:
            raise ValueError("a sweep without a MongoDB address has no record")
        self._target = target
        self._address = target.address
        self._sweep_id = sweep_id
        self._observer = observer
        self._say = say
        self._write_missing = write_missing
        self._written: set[tuple[int, int]] = set()
        self._adopted: dict[Path, Shipment] = {}
        # Journals that are still coming home from other nodes.
        self._coming: dict[Path, Shipment] = {}
        self._fetch: Callable[[Callable[[], bool], float], None] | None = None
        self.arrivals = Arrivals(
            target.home(), is_taken=self._is_adopted, begun=self._begin, ended=self._end
        )
        self._not_continued: list[TrialOutcome] = []

    @contextlib.contextmanager
    def kept_by_this_process(self) -> Iterator[None]:
        """Show others on this machine that the sweep has a driver, which knows how trials end."""
        marker = Journal(self._target.home() / (self._target.driver or driver_file()))
        marker.append("driver", {})
        try:
            yield
        finally:
            marker.delete()

    @contextlib.contextmanager
    def fetched_by(self, fetch: Callable[[Callable[[], bool], float], None]) -> Iterator[None]:
        """Look at journals of other nodes too, for as long as somebody fetches them.

        Parameters
        ----------
        fetch
            Fetches what there is by now, and again until a function says that it is enough; gives
            up after some seconds.
        """
        self._fetch = fetch
        try:
            yield
        finally:
            self._fetch = None
            self.arrivals.release()

    def has_begun(self, outcome: TrialOutcome) -> bool:
        """Tell whether an attempt has a document, or a journal that will become one.

        Parameters
        ----------
        outcome
            Of an attempt whose worker is gone.
        """
        self._bring(outcome)
        if any(path in self._adopted or _is_begun(path) for path in self._journals_of(outcome)):
            return True
        with telling_of_outages(self._say):
            recorded = recorded_statuses(self._target.runs(), self._sweep_id, outcome.index)
            return (outcome.index, outcome.attempt) in recorded
        return False

    def died(self, outcome: TrialOutcome) -> None:
        """Close the document of an attempt that could not do it, or take over what it says.

        Parameters
        ----------
        outcome
            How the driver knows the attempt; its run id, status and error are completed.
        """
        reason = f"Trial {outcome.index} could not write its own end: {outcome.error}."
        self._bring(outcome)
        shipment = self._journal_of(outcome, reason)
        if shipment is None:
            self._died_without_journal(outcome, reason)
            return
        shipper = shipper_for(self._address)
        shipper.wait(shipment, lambda: shipment.is_complete, _SHORT_S)
        outcome.run_id = shipment.run_id if outcome.run_id is None else outcome.run_id
        self._take_over(outcome, shipment.state.document(), shipment.state.last)

    def not_continued(self, outcome: TrialOutcome) -> None:
        """Say of a trial that was paused, and has ended by now, that it was not continued."""
        self._not_continued.append(outcome)
        self._amend_not_continued(outcome)

    def settle(
        self, outcomes: Sequence[TrialOutcome], reason: str | None = None
    ) -> dict[tuple[int, int], tuple[Any, str]]:
        """Bring home what workers left, and make the record agree with the driver's outcomes.

        Parameters
        ----------
        outcomes
            Of all attempts.
        reason
            Why the sweep ended before its trials did, if it did.

        Returns
        -------
        dict
            Run id and status by trial index and attempt, as the record has them; of what is only
            in journals the run id is None.
        """
        limit = max(_WAITS * self._target.wait_s, _SHORT_S)
        self._wait_for_workers(time.monotonic() + min(limit, _WORKERS_S))
        known = {(outcome.index, outcome.attempt): outcome for outcome in outcomes}
        for path in self._trial_journals():
            if not is_alive(path):
                self._adopt(path, lambda about: _ending_known(about, known, reason))
        self._wait_for_shipments(limit)
        statuses = {
            key: (shipment.run_id, shipment.state.status)
            for key, shipment in self._by_attempt().items()
        }
        with telling_of_outages(self._say):
            self._close_others(outcomes, reason)
            statuses |= recorded_statuses(self._target.runs(), self._sweep_id)
        for outcome in self._not_continued:
            self._amend_not_continued(outcome)
        for outcome in outcomes:
            if outcome.run_id is None:  # its worker could not learn it
                outcome.run_id, _ = statuses.get((outcome.index, outcome.attempt), (None, ""))
        self._tell_what_is_left()
        return statuses

    def _bring(self, outcome: TrialOutcome) -> None:
        """Fetch what other nodes have of an attempt whose worker is gone."""

        def is_enough() -> bool:
            return not any(map(self.arrivals.is_coming, self._journals_of(outcome)))

        if self._fetch is not None:
            self._fetch(is_enough, _SHORT_S)

    def _begin(self, path: Path) -> None:
        """Bring a journal to the database while it is still coming."""
        shipment = Shipment(DeadJournal(path), self._target.database, self._address.collection)
        self._coming[path] = shipment
        shipper_for(self._address).add(shipment)

    def _end(self, path: Path) -> None:
        shipment = self._coming.get(path)
        if shipment is not None:
            shipper_for(self._address).hurry(shipment)

    def _is_adopted(self, path: Path) -> bool:
        return path in self._adopted and path.exists()

    def _wait_for_shipments(self, limit_s: float) -> None:
        """Wait as long as journals reach the database, and a while longer."""
        shipper = shipper_for(self._address)
        deadline = time.monotonic() + limit_s
        for shipment in self._adopted.values():
            left = max(deadline - time.monotonic(), 0.0)
            if shipper.wait(shipment, lambda one=shipment: one.is_complete, left):  # type: ignore[misc]
                deadline = time.monotonic() + limit_s

    def _tell_what_is_left(self) -> None:
        left = [shipment for shipment in self._adopted.values() if not shipment.is_complete]
        if left:
            refusal = next((shipment.refusal for shipment in left if shipment.refusal), None)
            why = f" ({refusal})" if refusal else ""
            self._say(
                f"The records of {len(left)} trials have not reached the MongoDB{why}; nothing is "
                f"lost, they are in {self._target.home()}. `sacred-ray sync` brings them there "
                "when it is back."
            )

    def _journal_of(self, outcome: TrialOutcome, reason: str) -> Shipment | None:
        """Find the last journal of an attempt, unless all of it was brought home before."""
        adopted = [
            self._adopt(path, lambda about: _ending(outcome.status, reason))
            for path in self._journals_of(outcome)
        ]
        return next((shipment for shipment in reversed(adopted) if shipment is not None), None)

    def _journals_of(self, outcome: TrialOutcome) -> list[Path]:
        """Return the journals of an attempt on this machine, by segment."""
        pattern = f"trial{outcome.index}-{outcome.attempt}-*{SUFFIX}"
        return sorted(self._target.home().glob(pattern), key=_segment)

    def _died_without_journal(self, outcome: TrialOutcome, reason: str) -> None:
        self._amend(DIED, outcome, reason)
        with telling_of_outages(self._say):
            runs = self._target.runs()
            close_dead_runs(runs, self._sweep_id, outcome.status, reason, outcome.index)
            recorded = recorded_statuses(runs, self._sweep_id, outcome.index)
            self._complete_missing(outcome, recorded, reason)
            run_id, _ = recorded.get((outcome.index, outcome.attempt), (None, ""))
            outcome.run_id = run_id if outcome.run_id is None else outcome.run_id
            document = runs.find_one({"_id": run_id}) if run_id is not None else None
            if document is not None:
                logged = last_values(self._target.database()["metrics"], [run_id])
                self._take_over(outcome, document, logged.get(run_id, {}))

    def _complete_missing(
        self,
        outcome: TrialOutcome,
        recorded: Mapping[tuple[int, int], tuple[Any, str]],
        reason: str,
    ) -> None:
        """Write the document of a failed attempt that has none, once.

        Not on a node that was lost: its own journal of the attempt may come home yet.
        """
        if outcome.node_lost:
            return
        attempt = (outcome.index, outcome.attempt)
        if attempt not in recorded and attempt not in self._written and outcome.status == "FAILED":
            self._written.add(attempt)
            outcome.run_id = self._write_missing(outcome, reason)

    def _take_over(
        self, outcome: TrialOutcome, document: Mapping[str, Any], logged: Mapping[str, float]
    ) -> None:
        """Believe the record, where a worker had written the end before it died."""
        status = document["status"]
        if status in (outcome.status, "RUNNING"):
            return
        outcome.status = status
        outcome.error = f"the worker process ended itself with the trial {status}"
        if status == "COMPLETED":
            outcome.error = None
            result = result_metrics(document.get("result"))
            outcome.metrics = {**outcome.metrics, **logged, **result}
            outcome.config = dict(document.get("config") or {})

    def _amend_not_continued(self, outcome: TrialOutcome) -> None:
        self._amend(NOT_CONTINUED, outcome, outcome.stop_reason or "")

    def _amend(self, kind: str, outcome: TrialOutcome, reason: str) -> None:
        if self._observer is not None:
            attempt = {
                "index": outcome.index,
                "attempt": outcome.attempt,
                "segment": outcome.segment,
                "status": outcome.status,
            }
            known = {"kind": kind, "sweep_id": self._sweep_id, "reason": reason}
            self._observer.amend_other({**known, **attempt, "time": utc_now()})

    def _wait_for_workers(self, deadline: float) -> None:
        while time.monotonic() < deadline and any(map(is_alive, self._trial_journals())):
            time.sleep(0.1)

    def _trial_journals(self) -> list[Path]:
        own = f"{OUTER}-"
        return [p for p in journals_in(self._target.home()) if not p.name.startswith(own)]

    def _adopt(
        self, path: Path, ending: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> Shipment | None:
        """Take over a journal whose process is gone; one that has no end gets it before.

        There is nothing to take over where the process died before its run began.
        """
        known = self._adopted.get(path)
        if known is not None and not (known.is_complete and path.exists()):
            return known
        self.arrivals.take_over(path)
        shipper = shipper_for(self._address)
        if path in self._coming:
            shipper.forget(self._coming.pop(path))
        shipment = Shipment(DeadJournal(path), self._target.database, self._address.collection)
        shipment.read()
        if shipment.state.started is None:
            with contextlib.suppress(FileNotFoundError):  # the thread has just brought all of it
                discard_unbegun(shipment.source)
            return known
        with contextlib.suppress(FileNotFoundError):
            write_end(shipment, ending(shipment.state.started["meta"]["sweep"]))
        self._adopted[path] = shipment
        # From here on it is the thread's.
        shipper.add(shipment)
        return shipment

    def _by_attempt(self) -> dict[tuple[int, int], Shipment]:
        found = {}
        for _, shipment in sorted(self._adopted.items(), key=lambda item: _segment(item[0])):
            if shipment.state.started is not None:
                about = shipment.state.started["meta"]["sweep"]
                found[about["trial_index"], about["attempt"]] = shipment
        return found

    def _close_others(self, outcomes: Sequence[TrialOutcome], reason: str | None) -> None:
        """Close documents of trials whose journals are not here, as those of a lost node."""
        runs = self._target.runs()
        recorded = recorded_statuses(runs, self._sweep_id)
        at_home = self._by_attempt()
        for outcome in outcomes:
            if (outcome.index, outcome.attempt) not in at_home:
                self._complete_missing(outcome, recorded, outcome.error or _DIED_EARLY)
            is_open = recorded.get((outcome.index, outcome.attempt), (0, ""))[1] == "RUNNING"
            if is_open and outcome.status != "RUNNING":
                error = outcome.error or "Its worker could not write its end."
                close_dead_runs(runs, self._sweep_id, outcome.status, error, outcome.index)
        close_dead_runs(runs, self._sweep_id, "INTERRUPTED", reason or _ENDED_WITH_SWEEP)
        if self._observer is not None and self._observer.run_id is not None:
            # Trials that began before the database had the sweep's own run.
            runs.update_many(
                {"meta.sweep.sweep_id": self._sweep_id, "meta.sweep.outer_run_id": None},
                {"$set": {"meta.sweep.outer_run_id": self._observer.run_id}},
            )


def _ending(status: str, reason: str) -> dict[str, Any]:
    return {"status": status, "reason": reason, "trace": [f"{reason}\n"]}


def _ending_known(
    about: dict[str, Any], known: dict[tuple[int, int], TrialOutcome], why: str | None
) -> dict[str, Any]:
    outcome = known.get((about["trial_index"], about["attempt"]))
    if outcome is None or outcome.status == "RUNNING":
        return _ending("INTERRUPTED", why or _ENDED_WITH_SWEEP)
    reason = outcome.error or outcome.stop_reason or "Its worker could not write its end."
    return _ending(outcome.status, reason)


def _is_begun(path: Path) -> bool:
    """Tell whether a journal has the beginning of its run."""
    state = RunState()
    with contextlib.suppress(FileNotFoundError):
        state.apply(DeadJournal(path).read(0)[0])
    return state.started is not None


def _segment(path: Path) -> int:
    return int(path.name.split("-")[2])
