"""Recordings: a live run in a file, and a kernel that answers from it."""

from __future__ import annotations

import errno
import json
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

import netlink_safe as nls
import uevents
from netlink_safe import blocking, testing
from netlink_safe.wire.constants import NLMSG_DONE
from surfaces import Surface, on_every_surface

if TYPE_CHECKING:
    from pathlib import Path

LISTENERS = nls.tcp_sockets(states="listen", families="inet")


async def ports(diag: Any) -> list[int]:
    return sorted([row.source.port async for row in diag.dump(LISTENERS)])


def ends_well() -> bool:
    """Whether a dump has an end in time."""
    with blocking.open_sock_diag(timeout=0.2) as diag:
        try:
            list(diag.dump(LISTENERS))
        except nls.NetlinkTimeout:
            return False
        return True


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@on_every_surface
async def test_what_was_recorded_is_answered_again(surface: Surface, tmp_path: Path) -> None:
    """The same rows, though the sockets are gone, and with other sequence numbers."""
    path = tmp_path / "recording"
    with socket.create_server(("127.0.0.1", 0)), testing.record(path):
        live = await surface.collect()
        async with surface.open_sock_diag() as diag:
            before = await ports(diag)
    assert len(before) == 1
    with testing.replay(path):
        again = await surface.collect()
        async with surface.open_sock_diag() as diag:
            assert await ports(diag) == before
    assert again.states == live.states
    assert again.accept_queues == live.accept_queues


@on_every_surface
async def test_generic_netlink_is_recorded_too(surface: Surface, tmp_path: Path) -> None:
    """Families, their policies, and a request to one."""
    path = tmp_path / "recording"

    async def told() -> Any:
        async with surface.open_generic() as genl:
            family = await genl.family("nlctrl")
            names = sorted(each.name for each in await genl.families())
            return family.id, family.groups, names, await genl.policy("nlctrl", 3)

    with testing.record(path):
        live = await told()
    with testing.replay(path):
        assert await told() == live


def test_a_question_that_was_asked_twice_is_answered_in_turn(tmp_path: Path) -> None:
    """And as the last time from then on."""
    path = tmp_path / "recording"
    with blocking.open_sock_diag() as diag, testing.record(path):
        none = list(diag.dump(LISTENERS))
        with socket.create_server(("127.0.0.1", 0)):
            one = list(diag.dump(LISTENERS))
    assert (len(none), len(one)) == (0, 1)
    with testing.replay(path), blocking.open_sock_diag() as diag:
        assert [len(list(diag.dump(LISTENERS))) for _ in range(3)] == [0, 1, 1]


def test_what_was_not_asked_then_is_refused(tmp_path: Path) -> None:
    """EOPNOTSUPP, as by any scripted kernel."""
    path = tmp_path / "recording"
    with testing.record(path), blocking.open_sock_diag() as diag:
        list(diag.dump(LISTENERS))
    with testing.replay(path) as kernel, blocking.open_sock_diag() as diag:
        with pytest.raises(nls.KernelError) as caught:
            diag.request(nls.tcp_socket(("127.0.0.1", 1)))
        assert caught.value.errno == errno.EOPNOTSUPP
        assert len(kernel.asked) == 1


def test_a_dump_that_never_ended_never_ends_again(tmp_path: Path) -> None:
    """A bug report carries its fault."""
    path = tmp_path / "recording"
    with testing.record(path), testing.lose(NLMSG_DONE):
        assert not ends_well()
    with testing.replay(path):
        assert not ends_well()


def test_an_overrun_is_recorded_as_one(tmp_path: Path) -> None:
    """ENOBUFS stands where it came, and comes there again."""
    path = tmp_path / "recording"

    def failing(asked: testing.Asked) -> Any:
        yield testing.Loss()
        yield testing.done(asked)

    with testing.ScriptedKernel() as kernel:
        kernel.answer(4, 20, failing)
        with testing.record(path), pytest.raises(nls.OverrunError):
            ends_well()
    assert errno.ENOBUFS in [line.get("error") for line in lines(path)]
    with testing.replay(path), pytest.raises(nls.OverrunError):
        ends_well()


def test_garbage_is_answered_as_garbage(tmp_path: Path) -> None:
    """What broke the rules then breaks them again."""
    path = tmp_path / "recording"
    with testing.ScriptedKernel() as kernel:
        kernel.answer(4, 20, lambda _: [b"no message at all"])
        with testing.record(path), pytest.raises(nls.DecodeError):
            ends_well()
    with testing.replay(path), pytest.raises(nls.DecodeError):
        ends_well()


def test_events_of_a_listener_are_in_the_file(tmp_path: Path) -> None:
    """With who sent them; a bug report about events can be read."""
    path = tmp_path / "recording"
    text = uevents.text("change", "/devices/virtual/net/lo")
    with testing.record(path), blocking.open_uevents(subsystem="net") as events:
        uevents.inject(text)
        events.receive(timeout=5)
    [heard] = [line for line in lines(path) if "credentials" in line]
    assert bytes.fromhex(heard["received"]).startswith(text)
    assert (heard["sender"], heard["groups"], heard["credentials"][1]) == (0, 1, 0)


def test_a_recording_says_what_it_was_made_on(tmp_path: Path) -> None:
    """Format, byte order, kernel, library; and by each socket its protocol."""
    path = tmp_path / "recording"
    with testing.record(path), blocking.open_sock_diag() as diag:
        list(diag.dump(LISTENERS))
    head, opened, sent, *received = lines(path)
    assert head["byteorder"] == sys.byteorder
    assert {"format", "version", "kernel", "netlink_safe"} < set(head)
    assert (opened["socket"], opened["protocol"]) == (1, 4)
    assert "sent" in sent
    assert all("received" in line for line in received)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no recording"),
        ("nonsense\n", "no recording"),
        ("[]\n", "no recording"),
        ('{"format": "another", "version": 1, "byteorder": "little"}\n', "says 'another'"),
        (
            '{"format": "netlink_safe recording", "version": 9, "byteorder": "little"}\n',
            "version 9",
        ),
        (
            '{"format": "netlink_safe recording", "version": 1, "byteorder": "middle"}\n',
            "middle-endian machine",
        ),
    ],
)
def test_what_is_no_recording_of_this_machine_is_refused(
    text: str, said: str, tmp_path: Path
) -> None:
    """With the reason, before anything stands in front of the kernel."""
    path = tmp_path / "recording"
    path.write_text(text)
    with pytest.raises(nls.LocalProtocolError, match=said):
        testing.replay(path).__enter__()


@pytest.mark.parametrize(
    "line",
    [
        '{"socket": 1}',
        '{"sent": "00"}',
        '{"socket": 1, "sent": "zz"}',
        '{"socket": 1, "sent": "00"}',
    ],
)
def test_a_recording_that_breaks_off_in_nonsense_is_refused(line: str, tmp_path: Path) -> None:
    """Every line counts."""
    path = tmp_path / "recording"
    with testing.record(path), blocking.open_sock_diag() as diag:
        list(diag.dump(LISTENERS))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(nls.LocalProtocolError, match="no recording"):
        testing.replay(path).__enter__()
    with blocking.open_sock_diag() as diag:
        assert list(diag.dump(LISTENERS)) == []
