"""Looking at the nodes and processes of a cluster before the first trial."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sacred_ray_ingredient.cluster import node_facts
from sacred_ray_ingredient.cluster.nodes import Clock, Disk, NodeFacts, Software
from sacred_ray_ingredient.cluster.resources import TrialResources, holds
from sacred_ray_ingredient.errors import InnerImportError
from sacred_ray_ingredient.frozen_code import FrozenCode
from sacred_ray_ingredient.inner import InnerReference
from sacred_ray_ingredient.tasks import SweepTask
from sacred_ray_ingredient.trial import check_import

_IMPORT_TIMEOUT_S = 120.0
_ANSWER_TIMEOUT_S = 30.0
# Where Ray installs packages on each node before anything can run there.
_INSTALL_TIMEOUT_S = 600.0
_INSTALLS = frozenset({"pip", "uv", "conda", "container", "image_uri"})
_CLOCK_TIMEOUT_S = 5.0
# Seconds between two looks at whether the user has ended the sweep.
_LOOK_S = 0.5
_HEAD = "node:__internal_head__"
_SHORTENED_ID = 8


class ImportProbe:
    """Asks a worker to import the inner experiment, while the driver does something else.

    Parameters
    ----------
    inner
        The inner experiment.
    folder
        Current folder of the driver.
    code
        The project's modules, as the driver has them.
    """

    def __init__(self, inner: InnerReference, folder: str, code: FrozenCode | None = None) -> None:
        import ray

        self._inner = inner
        self._answer = ray.remote(num_cpus=0, max_retries=0)(check_import).remote(
            inner, folder, code
        )

    def wait(self) -> None:
        """Wait for the answer.

        Raises
        ------
        InnerImportError
            If the worker cannot import the inner experiment.
        """
        import ray

        try:
            sentence = ray.get(self._answer, timeout=_IMPORT_TIMEOUT_S)
        except ray.exceptions.RayError as error:
            first_line = str(error).strip().split("\n", 1)[0]
            raise InnerImportError(
                f"A worker process cannot import the inner experiment {self._inner}: {first_line}"
            ) from error
        if sentence is not None:
            raise InnerImportError(f"On a worker process: {sentence}")


@dataclass(frozen=True)
class Question:
    """What the nodes are asked about.

    Parameters
    ----------
    sweep
        What all trials share.
    resources
        What a trial needs; nodes without room for any part of it are not asked about trials.
    runtime_env
        Ray's runtime environment of the trials.
    digest
        Of the driver's package, see `node_facts.package_digest`.
    """

    sweep: SweepTask
    resources: TrialResources
    runtime_env: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    digest: str | None = None

    @property
    def patience_s(self) -> float:
        """How long a node may take for its first answer."""
        return _INSTALL_TIMEOUT_S if _INSTALLS & set(self.runtime_env) else _ANSWER_TIMEOUT_S


def names_of_nodes(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a name for each node: its own, else the host's, and more where these are not unique.

    Parameters
    ----------
    nodes
        As ``ray.nodes()`` describes them.
    """
    names = []
    for node in nodes:
        own, ip = node.get("NodeName"), node["NodeManagerAddress"]
        names.append(own if own and own != ip else node.get("NodeManagerHostname") or ip)
    count = Counter(names)
    names = [
        f"{name} ({node['NodeManagerAddress']})" if count[name] > 1 else name
        for name, node in zip(names, nodes, strict=True)
    ]
    count = Counter(names)
    return [
        f"{name} {node['NodeID'][:_SHORTENED_ID]}" if count[name] > 1 else name
        for name, node in zip(names, nodes, strict=True)
    ]


def ask_nodes(question: Question, look: Callable[[], None]) -> list[NodeFacts]:
    """Ask all nodes of the connected Ray at once what there is to know before the first trial.

    Parameters
    ----------
    question
        What they are asked about.
    look
        Called again and again, to end the waiting with an exception.

    Returns
    -------
    list of NodeFacts
        The head first, then by name.
    """
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    facts = {}
    for name, node in zip(names_of_nodes(alive), alive, strict=True):
        resources = node["Resources"]
        facts[node["NodeID"]] = NodeFacts(
            f"{name} (head)" if _HEAD in resources else name,
            node["NodeManagerAddress"],
            resources,
            any(holds(bundle, resources) for bundle in question.resources.group),
        )
    survey = _Survey(question, facts)
    with survey.questions_end():
        survey.run(look)
    found = list(survey.facts.values())
    return sorted(found, key=lambda node: (_HEAD not in node.resources, node.name))


@dataclass
class _Asked:
    """A question that is on its way."""

    node: str
    kind: str
    since: float
    patience_s: float
    time_before: float


class _Survey:
    """Asks each node one thing after the other, and all nodes at once."""

    def __init__(self, question: Question, facts: dict[str, NodeFacts]) -> None:
        import ray

        self._question = question
        self.facts = facts
        self._asked: dict[Any, _Asked] = {}
        # In lists, as Ray would read them before a node is asked anything.
        sweep = question.sweep
        self._target = [ray.put(sweep.target)]
        self._trials = [ray.put((sweep.inner, sweep.folder, sweep.code, sweep.tree))]
        self._answer = ray.remote(num_cpus=0, max_retries=0)(node_facts.answer)

    @contextlib.contextmanager
    def questions_end(self) -> Iterator[None]:
        """Take back the questions that are left after the block, whatever ended it."""
        import ray

        try:
            yield
        finally:
            for reference in self._asked:
                with contextlib.suppress(Exception):  # its node may be gone
                    ray.cancel(reference, force=True)
            self._asked.clear()

    def run(self, look: Callable[[], None]) -> None:
        """Ask, and wait until each node has answered or been given up on."""
        import ray

        for node, facts in self.facts.items():
            arguments = self._target if facts.takes_trials else []
            self._ask("gather", node, self._question.patience_s, arguments)
        while self._asked:
            look()
            done, _ = ray.wait(list(self._asked), num_returns=1, timeout=_LOOK_S)
            now = time.time()
            if done:
                done, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)
            for reference in done:
                self._take(reference, self._asked.pop(reference), now)
            self._give_up()

    def _ask(self, kind: str, node: str, patience_s: float, about: Sequence[Any] = ()) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node, soft=False)
        task = self._answer.options(scheduling_strategy=there)
        before = time.time()
        with _by_value():
            reference = task.remote(kind, about)
        self._asked[reference] = _Asked(node, kind, time.monotonic(), patience_s, before)

    def _take(self, reference: Any, asked: _Asked, now: float) -> None:
        import ray

        try:
            answer = ray.get(reference)
        except ray.exceptions.RayError as error:
            self._take_failure(asked, error)
            return
        if asked.kind == "gather":
            self._take_facts(asked.node, answer)
        elif asked.kind == "clock":
            half = (now - asked.time_before) / 2
            self._note(asked.node, clock=Clock(answer - asked.time_before - half, half))
            self._go_on(asked.node)
        else:
            self._note(asked.node, import_mistake=answer, has_imported=answer is None)

    def _take_facts(self, node: str, answer: Mapping[str, Any]) -> None:
        software = Software(answer["python"], answer["versions"], answer["digest"])
        disk = answer.get("disk")
        self._note(
            node,
            software=software,
            trouble=answer.get("trouble"),
            disk=None if disk is None else Disk(**disk),
            database=answer.get("database"),
        )
        # In the process that is there now, so that the answer takes no time.
        self._ask("clock", node, _CLOCK_TIMEOUT_S)

    def _go_on(self, node: str) -> None:
        """Let a node import the experiment, once it has answered what is quick."""
        facts = self.facts[node]
        has_package = facts.software is not None and facts.software.digest is not None
        if facts.takes_trials and has_package and facts.trouble is None:
            self._ask("import", node, _IMPORT_TIMEOUT_S, self._trials)

    def _take_failure(self, asked: _Asked, error: Exception) -> None:
        import ray

        cause = getattr(error, "cause", None) or error
        lines = str(cause).strip().splitlines() or [""]
        line = f"{type(cause).__name__}: {lines[0]}"
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        if asked.node not in alive:
            self._note(asked.node, is_gone=True, software=None)
        elif asked.kind == "gather":
            self._note(asked.node, failure=line)
        elif asked.kind == "clock":
            self._go_on(asked.node)
        elif asked.kind == "import" and self._is_its_own_fault(asked.node, error):
            self._note(asked.node, import_mistake=self._not_imported(line))

    def _is_its_own_fault(self, node: str, error: Exception) -> bool:
        """Tell a failure of the import from one that only another version of the package has."""
        import ray

        software = self.facts[node].software
        is_same = software is not None and software.digest == self._question.digest
        return is_same or not isinstance(error, ray.exceptions.RayTaskError)

    def _not_imported(self, why: str) -> str:
        return f"The inner experiment {self._question.sweep.inner} cannot be imported: {why}."

    def _give_up(self) -> None:
        now = time.monotonic()
        late = [each for each, asked in self._asked.items() if now - asked.since > asked.patience_s]
        if not late:
            return
        import ray

        for reference in late:
            asked = self._asked.pop(reference)
            with contextlib.suppress(Exception):  # its node may be gone
                ray.cancel(reference, force=True)
            if asked.kind == "gather":
                self._note(asked.node, silent_s=asked.patience_s)
            elif asked.kind == "clock":
                self._go_on(asked.node)
            elif asked.kind == "import":
                why = f"it took longer than {asked.patience_s:.0f} s"
                self._note(asked.node, import_mistake=self._not_imported(why))

    def _note(self, node: str, **found: Any) -> None:
        self.facts[node] = dataclasses.replace(self.facts[node], **found)


@contextlib.contextmanager
def _by_value() -> Iterator[None]:
    """Let Ray send the functions for nodes as they are, and not as names in this package."""
    import ray

    module = sys.modules[node_facts.__name__]
    ray.cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        ray.cloudpickle.unregister_pickle_by_value(module)
