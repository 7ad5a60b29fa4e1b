"""Where the command starts: verbs found by name, errors in one line, a status for each end.

May call ``cli``, ``errors`` and ``_version``.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Final, NoReturn, TextIO

from netlink_safe.cli.tables import printable

if TYPE_CHECKING:
    import click

#: Verb to the module under ``cli`` that holds it, as ``command``, imported when it is called.
VERBS: Final = {
    "tcpstat": "tcpstat",
    "sockets": "sockets",
    "uevents": "uevents",
    "genl": "genl",
    "link": "link",
    "doctor": "doctor",
    "exporter": "exporter",
    "completion": "completion",
}

#: Verbs that take more than the command line itself: the extra of the package that has it all.
OWN_EXTRA: Final = {"exporter": "exporter"}

#: What a shell sets when it asks how to go on, as click names it.
ASKED_BY: Final = "_NETLINK_SAFE_COMPLETE"

FAILED: Final = 1
#: As click has it.
WRONG_USAGE: Final = 2
#: As timeout(1) has it.
TIMED_OUT: Final = 124
#: 128 and the number of SIGINT, of SIGPIPE.
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141


def main() -> NoReturn:
    """Run the command and exit with its status."""
    if sys.stdout is None:  # so does Python where its descriptor is closed
        sys.exit(_fail("standard output is closed"))
    sys.stdout = _whole(sys.stdout)
    try:
        status = _run()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        status = PIPE_CLOSED
    sys.exit(_flushed(status))


def _flushed(status: int) -> int:
    try:
        sys.stdout.flush()
    except OSError as error:  # a closed pipe, a full disk
        # Python flushes standard output once more at its exit, and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return status or PIPE_CLOSED
        return status or _fail(f"standard output: {error.strerror}")
    return status


def _whole(out: TextIO) -> TextIO:
    """Standard output that loses nothing: of an unbuffered one Python drops what a write leaves.

    A name that its encoding lacks is written as an escape instead of ending everything.
    """
    if not isinstance(out, io.TextIOWrapper):
        return out
    errors = "backslashreplace" if out.errors == "strict" else out.errors
    if not isinstance(out.buffer, io.RawIOBase):
        out.reconfigure(errors=errors)
        return out
    return open(out.fileno(), "w", encoding=out.encoding, errors=errors, closefd=False)


def _run() -> int:
    try:
        import click
    except ImportError:
        verb = next((each for each in sys.argv[1:] if not each.startswith("-")), "")
        extra = OWN_EXTRA.get(verb, "cli")
        return _fail(f"the command line needs click and rich: pip install 'netlink-safe[{extra}]'")
    from netlink_safe.errors import NetlinkError, NetlinkTimeout

    try:
        # Not click's main(), which ends with a line and a status of its own on Ctrl-C and on a
        # closed pipe.
        group = _group()
        if asked := os.environ.get(ASKED_BY):
            from click.shell_completion import shell_complete

            return shell_complete(group, {}, "netlink-safe", ASKED_BY, asked)
        with group.make_context("netlink-safe", sys.argv[1:]) as context:
            group.invoke(context)
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except NetlinkTimeout as error:
        return _fail(str(error), TIMED_OUT)
    except BrokenPipeError:
        raise
    except NetlinkError as error:
        return _fail(str(error))
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}")


def _group() -> click.Group:
    import click

    class Verbs(click.Group):
        """Verbs that are imported when they are called."""

        def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's
            return list(VERBS)

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
            if cmd_name not in VERBS:
                return None
            from importlib import import_module

            command = import_module(f"netlink_safe.cli.{VERBS[cmd_name]}").command
            return command if isinstance(command, click.Command) else None

    from netlink_safe._version import __version__

    return click.version_option(__version__, prog_name="netlink-safe")(
        Verbs(
            help="Look at Linux sockets and netlink, with a deadline on every wait.\n\n"
            f"Exit status: 0 done, {FAILED} an error, {WRONG_USAGE} wrong usage, {TIMED_OUT} the "
            f"deadline passed, {INTERRUPTED} interrupted.",
            context_settings={"help_option_names": ["-h", "--help"]},
        )
    )


def _fail(message: str, status: int = FAILED) -> int:
    if sys.stderr is not None:  # or print() would take standard output
        print(f"netlink-safe: {printable(message)}", file=sys.stderr)  # noqa: T201  # its only line
    return status
