"""The ``sacred-ray`` command: one function that adds each verb, one that does it.

Everything heavy is imported by the handler that needs it, so that ``--help`` comes at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sacred_ray_ingredient.mongo.embedded import EmbeddedServer

Verbs = argparse._SubParsersAction  # argparse has no public name for it

_NOT_RUNNING = 3
_INTERRUPTED = 130

_EXAMPLES = """\
examples:
  sacred-ray mongo start                            start this project's private MongoDB
  sacred-ray mongo status                           is it running, where, how large
  MONGO_URI="$(sacred-ray mongo uri)" omniboard     look at the runs in Omniboard
  sacred-ray mongo stop                             stop it; the data stay
  sacred-ray rerun 12                               run trial 12 again: is the result the same?
  sacred-ray code 12 as_it_was                      write the code that it ran to a folder
  sacred-ray sync                                   bring what the database missed to it
"""

_MONGO_EXAMPLES = """\
The server listens on 127.0.0.1 only and wants a password, which is in a file that only you
can read. Sweeps without an address of their own start it and leave it running.

examples:
  sacred-ray mongo start
  sacred-ray mongo status || echo "not running"
  mongosh "$(sacred-ray mongo uri)"                 any other tool
  sacred-ray mongo stop --folder /data/project/.sacred_ray
"""


_RERUN_EXAMPLES = """\
What is run is the code in the current folder, with the recorded config and seed.

exit codes: 0 the same to the last bit, 1 something differs, 2 it could not be compared

examples:
  sacred-ray rerun 12
  sacred-ray rerun 12 -m db.example.org:27017:sacred
  sacred-ray rerun 12 --experiment experiments.inner:inner_ex
  sacred-ray rerun 12 --record                      keep the new run, with the tag rerun
"""

_CODE_EXAMPLES = """\
The code is written, never run. The folder must be a new one.

example:
  sacred-ray code 12 as_it_was && cd as_it_was && sacred-ray rerun 12
"""

_SYNC_EXAMPLES = """\
Each run writes a journal in the project folder until the database has all of it. A machine
that died, or a database that was away for long, leaves journals behind. Doing it twice changes
nothing; journals of runs that are still running are left to them.

exit codes: 0 nothing is left, 1 something is left, with the reasons

examples:
  sacred-ray sync
  sacred-ray sync --folder /data/node7/.sacred_ray/journals -m db.example.org:27017:sacred
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        The arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        The exit code: that of the error where there is one.
    """
    arguments = _parser().parse_args(argv)
    arguments.is_own_process = argv is None
    handler: Callable[[argparse.Namespace], int] = arguments.handler
    from sacred_ray_ingredient.errors import SacredRayError

    try:
        return handler(arguments)
    except SacredRayError as error:
        print(f"sacred-ray: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("sacred-ray: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sacred-ray",
        description="Sweeps of Sacred experiments with Ray, recorded in MongoDB.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in _VERBS:
        add(verbs)
    return parser


class _Version(argparse.Action):
    """Print the installed version; looked up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        from importlib import metadata

        try:
            version = metadata.version("sacred_ray_ingredient")
        except metadata.PackageNotFoundError:
            version = "(not installed, run from its sources)"
        print(f"sacred-ray {version}")
        parser.exit()


def _add_mongo(verbs: Verbs[argparse.ArgumentParser]) -> None:
    mongo = verbs.add_parser(
        "mongo",
        help="start, look at and stop the project's private MongoDB",
        description="The private MongoDB of the project that the current folder belongs to.",
        epilog=_MONGO_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = mongo.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, handler, does in (
        ("start", _mongo_start, "start it if it does not run"),
        ("status", _mongo_status, "exit code 0 if it runs, 3 if not"),
        ("stop", _mongo_stop, "stop it; the data stay"),
        ("uri", _mongo_uri, "print its complete URI, PASSWORD INCLUDED, for other tools"),
    ):
        action = actions.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        action.add_argument(
            "--folder",
            type=Path,
            metavar="PATH",
            help="the project folder (default: the .sacred_ray of this project)",
        )
        action.set_defaults(handler=handler)


def _server(arguments: argparse.Namespace) -> EmbeddedServer:
    from sacred_ray_ingredient.mongo.embedded import EmbeddedServer
    from sacred_ray_ingredient.mongo.folder import project_folder

    return EmbeddedServer(arguments.folder or project_folder())


def _mongo_start(arguments: argparse.Namespace) -> int:
    server = _server(arguments)
    address = server.start()
    print(f"MongoDB runs at {address.describe()} ({server.folder})")
    print(f"Look at the runs with: {address.omniboard_command()}")
    return 0


def _mongo_status(arguments: argparse.Namespace) -> int:
    server = _server(arguments)
    status = server.status()
    if not status.running:
        print(f"MongoDB does not run ({server.folder})")
        return _NOT_RUNNING
    print(f"MongoDB runs at 127.0.0.1:{status.port}, process {status.pid}")
    print(f"Data: {status.data_folder}, {status.size_bytes / 1e6:.1f} MB")
    return 0


def _mongo_stop(arguments: argparse.Namespace) -> int:
    server = _server(arguments)
    stopped = server.stop()
    state = "has been stopped" if stopped else "did not run"
    print(f"MongoDB {state} ({server.folder})")
    return 0


def _mongo_uri(arguments: argparse.Namespace) -> int:
    server = _server(arguments)
    if server.exists:
        # After a reboot the one who wants to see the runs need not know that it has to be
        # started; where there never was one, an empty database would only mislead.
        server.start()
    print(server.uri_with_password())
    return 0


def _add_rerun(verbs: Verbs[argparse.ArgumentParser]) -> None:
    verb = _add_verb(
        verbs,
        "rerun",
        "run a recorded trial again and compare, to the last bit",
        _RERUN_EXAMPLES,
        _rerun,
    )
    verb.add_argument("run_id", metavar="RUN_ID", help="id of the run in the database")
    verb.add_argument(
        "--experiment",
        metavar="MODULE:ATTRIBUTE",
        help="where the experiment is, if the record does not say it or it has moved",
    )
    verb.add_argument("--record", action="store_true", help="record the new run, too")
    _add_database(verb)


def _add_code(verbs: Verbs[argparse.ArgumentParser]) -> None:
    verb = _add_verb(
        verbs, "code", "write the code of a recorded run to a new folder", _CODE_EXAMPLES, _code
    )
    verb.add_argument("run_id", metavar="RUN_ID", help="id of the run in the database")
    verb.add_argument("folder", metavar="FOLDER", type=Path, help="a new folder, or an empty one")
    _add_database(verb)


def _add_sync(verbs: Verbs[argparse.ArgumentParser]) -> None:
    verb = _add_verb(
        verbs, "sync", "bring runs from their journals to the database", _SYNC_EXAMPLES, _sync
    )
    verb.add_argument(
        "--folder",
        type=Path,
        metavar="PATH",
        help="folder with journals anywhere below it (default: those of this project, and those "
        "that sweeps of other machines have left on this one)",
    )
    _add_database(verb, "the MongoDB that gets them (default: the one that each journal names)")


def _add_verb(
    verbs: Verbs[argparse.ArgumentParser],
    name: str,
    does: str,
    examples: str,
    handler: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(handler=handler)
    return verb


def _add_database(
    verb: argparse.ArgumentParser,
    which: str = "the MongoDB (default: SACRED_MONGO_URL, else the project's own server)",
) -> None:
    verb.add_argument("-m", "--mongo", metavar="HOST:PORT:DB", help=which)


def _rerun(arguments: argparse.Namespace) -> int:
    from sacred_ray_ingredient.record.target import close_clients
    from sacred_ray_ingredient.record_access import record_target
    from sacred_ray_ingredient.recorded_run import parse_reference
    from sacred_ray_ingredient.rerun import RerunRequest, load_here, rerun
    from sacred_ray_ingredient.threads import restart_with

    inner = None
    if arguments.experiment is not None:
        inner = load_here(parse_reference(arguments.experiment))
    request = RerunRequest(
        arguments.run_id,
        record_target(arguments.mongo),
        inner=inner,
        is_named=inner is not None,
        record=arguments.record,
        restart=restart_with if arguments.is_own_process else None,
    )
    try:
        return rerun(request, print)
    finally:
        close_clients()


def _code(arguments: argparse.Namespace) -> int:
    from sacred_ray_ingredient.record.target import close_clients
    from sacred_ray_ingredient.record_access import record_target
    from sacred_ray_ingredient.recorded_code import write_code
    from sacred_ray_ingredient.recorded_run import read_document

    target = record_target(arguments.mongo)
    try:
        place = target.address.describe() if target.address else ""
        document = read_document(target.runs(), arguments.run_id, place)
        count, what = write_code(target.database(), document, arguments.folder)
    finally:
        close_clients()
    files = "file" if count == 1 else "files"
    print(
        f"{count} {files} written to {arguments.folder}: {what}, as run {document['_id']} had them."
    )
    return 0


def _sync(arguments: argparse.Namespace) -> int:
    from sacred_ray_ingredient.mongo.sources import from_option
    from sacred_ray_ingredient.record.sync import sync_all
    from sacred_ray_ingredient.record.target import close_clients, own_folders
    from sacred_ray_ingredient.record_access import journals_folder, tell_sync

    folders = [arguments.folder] if arguments.folder else [journals_folder(), *own_folders()]
    if arguments.folder is not None and not arguments.folder.is_dir():
        print(f"sacred-ray: There is no folder {arguments.folder}.", file=sys.stderr)
        return 2
    address = from_option(arguments.mongo) if arguments.mongo else None
    try:
        return tell_sync(sync_all(folders, print, address), print)
    finally:
        close_clients()


_VERBS: tuple[Callable[[Verbs[argparse.ArgumentParser]], None], ...] = (
    _add_mongo,
    _add_rerun,
    _add_code,
    _add_sync,
)
