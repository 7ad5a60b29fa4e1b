"""What becomes of each verb under each fault: the table that tests run and the docs show.

python tests/fault_table.py        prints the table as docs/reference/testing.md has it
"""

from __future__ import annotations

import contextlib
import errno
import threading
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

import netlink_safe as nls
from netlink_safe import testing
from netlink_safe.errors import DumpInterrupted, OverrunError
from netlink_safe.families.inet_diag import TCPDIAG_GETSOCK
from netlink_safe.families.sock_diag import SOCK_DIAG_BY_FAMILY
from netlink_safe.transport import namespace
from netlink_safe.wire.constants import (
    NETLINK_SOCK_DIAG,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from verbs import Opened

#: Seconds that a verb may take where it is to give up.
TIMEOUT: Final = 0.05

ASKING_ONE: Final = ("request", "family", "genl.request", "delete_link")
ASKING_TABLES: Final = ("dump", "fold", "destroy", "collect", "families", "policies", "genl.dump")
ASKING: Final = (*ASKING_ONE, *ASKING_TABLES, "policy", "Family.policy", "examine")
OPENING: Final = (
    "open_sock_diag",
    "open_generic",
    "open_route",
    "open_uevents",
    "open_user",
    "Outbox",
    "subscribe",
    "subscribe_destroyed",
)
HEARING: Final = (
    "uevents.receive",
    "uevents.next",
    "user.receive",
    "heard.receive",
    "heard.next",
)


@attrs.frozen
class Fault:
    """One fault: how a user makes it, how a test does, and what it does to each verb.

    ``outcome`` is the error, or None where the verb does what it is for all the same.
    What takes more than one call to show has no ``make``, and a test of its own that is named.
    """

    name: str
    verbs: tuple[str, ...]
    outcome: type[Exception] | None
    promise: str
    make: Any = None
    shown_by: str | None = None


def _plain(make: Callable[[], contextlib.AbstractContextManager[object]]) -> Any:
    return lambda _: make()


def _said(script: testing.Script) -> Any:
    """A scripted kernel that answers questions about sockets like this."""

    @contextlib.contextmanager
    def make(it: Opened) -> Iterator[None]:
        it.diag._pool._close_idle()  # they are the running kernel's
        with testing.ScriptedKernel() as kernel:
            for type_ in (TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY):
                kernel.answer(NETLINK_SOCK_DIAG, type_, script)
            yield
        it.diag._pool._close_idle()

    return make


def _row(asked: testing.Asked, **options: Any) -> bytes:
    return testing.row(asked, testing.TcpFigure(state="listen").encoded(), **options)


def _out_of_order(asked: testing.Asked) -> Iterator[bytes]:
    another = asked.sequence - 1 & 0xFFFFFFFF
    yield testing.reply(asked, NLMSG_DONE, bytes(4), sequence=another) + _row(asked)
    yield testing.done(asked) if asked.is_dump else testing.ack(asked)


@contextlib.contextmanager
def _held_up(_: Opened) -> Iterator[None]:
    with testing.held_up():
        yield


@contextlib.contextmanager
def _full_peer(it: Opened) -> Iterator[None]:
    """What the verbs for messages are to send to has no room."""
    with testing.full_peer() as peer, pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(it.user), "port_id", peer.port_id)
        it.box.post(b"x", port_id=peer.port_id)
        yield


@contextlib.contextmanager
def _stuck_proc(_: Opened) -> Iterator[None]:
    """A read of /proc that does not come back."""
    release = threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(namespace.Namespace, "read", lambda *_: release.wait(30) and [])
        try:
            yield
        finally:
            release.set()


FAULTS: Final = (
    Fault(
        "lose(NLMSG_DONE)",
        ("dump", "fold", "destroy", "collect", "genl.dump"),
        nls.NetlinkTimeout,
        "the dump never ends; the error carries what was seen",
        _plain(lambda: testing.lose(NLMSG_DONE)),
    ),
    Fault(
        "lose(NLMSG_ERROR)",
        ("request", "delete_link", "genl.request"),
        nls.NetlinkTimeout,
        "neither an acknowledgement nor a refusal comes",
        _plain(lambda: testing.lose(NLMSG_ERROR)),
    ),
    Fault(
        "deaf()",
        tuple(verb for verb in ASKING if verb != "Family.policy"),
        nls.NetlinkTimeout,
        "three sockets are tried within the time",
        _plain(testing.deaf),
    ),
    Fault(
        "deaf(sockets=1)",
        ("dump", "fold", "collect", "destroy"),
        None,
        "a second attempt on a fresh socket saves the call",
        _plain(lambda: testing.deaf(sockets=1)),
    ),
    Fault(
        "lose_after(1)",
        ("fold", "collect"),
        None,
        "a short table is whole in one datagram; its end comes in it or is asked for again",
        _plain(lambda: testing.lose_after(1, sockets=1)),
    ),
    Fault(
        "held_up()",
        (*ASKING, *(verb for verb in OPENING if verb != "Outbox")),
        nls.NetlinkTimeout,
        "the caller is free at its deadline; the thread closes up when the kernel lets it go",
        _held_up,
    ),
    Fault(
        "NLM_F_DUMP_INTR",
        ("dump", "fold", "collect"),
        DumpInterrupted,
        "asked again twice where no row was handed out; `when_interrupted` says otherwise",
        _said(lambda asked: [_row(asked, flags=NLM_F_DUMP_INTR), testing.done(asked)]),
    ),
    Fault(
        "NLMSG_OVERRUN",
        ("dump", "fold", "collect"),
        OverrunError,
        "as an interrupted dump",
        _said(lambda asked: [_row(asked), testing.cut_off(asked)]),
    ),
    Fault(
        "no memory for a chunk",
        ("dump", "fold", "collect"),
        OverrunError,
        "nothing would ever resume it: its socket is closed, and a fresh one asked",
        _said(lambda asked: [_row(asked), testing.Loss(), testing.done(asked)]),
    ),
    Fault(
        "NLMSG_DONE with an errno",
        ("dump", "fold", "collect"),
        nls.KernelError,
        "with the errno and the kernel's explanation",
        _said(lambda asked: [_row(asked), testing.done(asked, errno.ENOMEM)]),
    ),
    Fault(
        "replies out of order",
        ("dump", "fold", "collect", "request"),
        None,
        "what is not our own is counted as `rejected`, and changes nothing",
        _said(_out_of_order),
    ),
    Fault(
        "a reply that comes too late",
        ("dump", "fold", "collect", "request"),
        nls.NetlinkTimeout,
        "its socket is closed, so that it reaches nobody",
        _said(lambda asked: [testing.Sent(_row(asked), held=True)]),
    ),
    Fault(
        "an acknowledgement cut short",
        ("request", "dump", "fold", "collect"),
        nls.DecodeError,
        "at any length",
        _said(lambda asked: [testing.refusal(asked, errno.EPERM, size=10)]),
    ),
    Fault(
        "any errno",
        ("request", "dump", "fold", "collect"),
        nls.KernelError,
        "which names it; `NotSupported` where that is what it means",
        _said(lambda asked: [testing.refusal(asked, errno.EPERM)]),
    ),
    Fault(
        "spoof()",
        ("dump", "fold", "request"),
        None,
        "counted as `foreign_sender`, and not believed",
        shown_by="test_faults.test_a_spoofed_reply_is_counted_and_not_believed",
    ),
    Fault(
        "overrun()",
        ("uevents.receive", "uevents.next"),
        None,
        "`Overrun` with the number of what is lost, the difference, `Resynced`",
        shown_by="test_testing_faults.test_an_overrun_is_told_and_resynced",
    ),
    Fault(
        "slow_reader()",
        ("user.send", "outbox.flush"),
        None,
        "once it reads there is room",
        shown_by="test_testing_faults.test_a_slow_reader_reads_when_it_is_told_to",
    ),
    Fault(
        "blocked_allocation()",
        ("dump",),
        OSError,
        "where the kernel has fault injection; `NotSupported` elsewhere",
        shown_by="test_testing_faults.test_an_allocation_fails_where_the_kernel_can_have_it_fail",
    ),
    Fault(
        "full_peer()",
        ("user.send",),
        nls.NetlinkTimeout,
        "`send_nowait` raises `PeerQueueFull` at once, `send` tries until its deadline",
        _full_peer,
    ),
    Fault(
        "full_peer()",
        ("outbox.flush",),
        nls.NetlinkTimeout,
        "the outbox goes on trying until a message's own deadline",
        _full_peer,
    ),
    Fault(
        "full_peer()",
        ("outbox.close",),
        None,
        "what could not be delivered by then is told to `on_undelivered`",
        _full_peer,
    ),
    Fault(
        "nobody says anything",
        HEARING,
        nls.NetlinkTimeout,
        "at its timeout, or at the `idle_timeout` of an iteration",
        _plain(contextlib.nullcontext),
    ),
    Fault(
        "a read of /proc hangs",
        ("read_proc_net",),
        nls.NetlinkTimeout,
        "as a request that the kernel holds up",
        _stuck_proc,
    ),
)


def table() -> str:
    """The table in Markdown."""
    lines = ["| fault | verbs | what comes out |", "|---|---|---|"]
    for fault in FAULTS:
        verbs = ", ".join(f"`{verb}`" for verb in fault.verbs)
        out = "the result" if fault.outcome is None else f"`{fault.outcome.__name__}`"
        name = f"`{fault.name}`" if fault.name.endswith(")") else fault.name
        lines.append(f"| {name} | {verbs} | {out}: {fault.promise} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())  # noqa: T201
