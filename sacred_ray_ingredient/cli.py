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


_VERBS: tuple[Callable[[Verbs[argparse.ArgumentParser]], None], ...] = (_add_mongo,)
