"""What a hostile peer or a storm can make this process hold: no more than the page says."""

from __future__ import annotations

import contextlib
import gc
import pathlib
import re
import socket
import subprocess
import sys
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from hypothesis import given
from hypothesis import strategies as st

import netlink_safe as nls
import uevents
from faults import spoof, spoof_multicast
from links import Links, names
from netlink_safe.cli import exporter_server
from netlink_safe.families import uevents as reading
from netlink_safe.families.uevent import Origin
from netlink_safe.protocol import picture
from netlink_safe.protocol.sighting import Look
from netlink_safe.protocol.trust import Roots
from netlink_safe.transport import bursts, messaging, pool, processes, udev_database, workers
from netlink_safe.transport.following import PORTION
from netlink_safe.transport.socket import RECEIVE_SIZE
from netlink_safe.wire.datagram import Burst, Credentials, Sender
from scenes import NLCTRL_NOTIFY, USERSOCK, items, listener
from surfaces import Surface, on_every_surface
from test_uevent import read
from uevents import inject, multicast, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

ROOT: Final = pathlib.Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "explanation" / "trust.md"
FLOOR: Final = 32 * 1024
#: Bytes that may be left behind a storm of several times as many; an event loop keeps a few, too.
LEFT: Final = 300_000
LONG: Final = "x" * 1000
#: Every reason there is.
REASONS: Final = frozenset(
    {
        *("foreign_sender", "sequence", "port_id", "after_end", "foreign_family"),
        *("truncated", "unicast", "no_credentials", "not_root", "injected"),
        *("udev_prefix", "udev_magic", "udev_offsets", "malformed", "unknown"),
    }
)
KERNEL: Final = Sender(0, 1, Credentials(0, 0, 0), False)


@contextlib.contextmanager
def keeping_below(size: int) -> Iterator[None]:
    """What the body leaves allocated is no more than so many bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < size
    finally:
        tracemalloc.stop()


def flood(send: Any, times: int) -> None:
    """Send so often, whether there is room or not."""
    for number in range(times):
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            send(number)


@on_every_surface
async def test_spoofed_replies_leave_nothing(surface: Surface) -> None:
    """Ten times what a queue holds, again and again, and the same questions between."""
    async with surface.open_sock_diag(receive_buffer=FLOOR) as diag:

        async def ask() -> None:
            [sock] = diag._pool._idle
            flood(lambda _: spoof(sock.port_id, bytes(1000)), 100)
            assert [row async for row in diag.dump(nls.tcp_sockets())] == []

        await ask()
        with keeping_below(LEFT):
            for _ in range(60):
                await ask()
        statistics = diag.statistics()
        assert statistics.rejected.keys() == {"foreign_sender"}
        assert statistics.rejected["foreign_sender"] * 1000 > 4 * LEFT
        assert statistics.open_sockets <= pool.IDLE


@on_every_surface
async def test_a_pool_keeps_so_many_idle_sockets(surface: Surface) -> None:
    """However many dumps ran at once; each had one of its own."""
    async with surface.open_sock_diag() as diag:

        async def nested(depth: int) -> None:
            with socket.create_server(("127.0.0.1", 0)):
                async for _ in diag.dump(nls.tcp_sockets(states={"listen"})):
                    if depth:
                        await nested(depth - 1)
                    seen.append(depth)

        seen: list[int] = []
        await nested(6)
        assert set(seen) == set(range(7))
        assert len(diag._pool._idle) == pool.IDLE == diag.statistics().open_sockets


@on_every_surface
async def test_injected_events_do_not_grow_the_picture(surface: Surface) -> None:
    """Nor do those that are rejected; of a batch no more than a burst is pending."""
    async with surface.open_uevents(coldplug=True, subsystem="net") as events:
        await items(events)
        known = dict(listener(events).reader.known)
        assert known

        async def storm() -> None:
            flood(lambda one: multicast(text("add", f"/devices/a/lie{one}", LONG=LONG)), 300)
            flood(lambda one: inject(text("add", f"/devices/made/up{one}", LONG=LONG)), 300)
            for _ in range(300):
                assert (await events.receive(timeout=60)).origin is Origin.INJECTED

        await storm()
        with keeping_below(LEFT):
            for _ in range(5):
                await storm()
        assert dict(listener(events).reader.known) == known
        assert events.statistics().rejected == {"foreign_sender": 6 * 300}


@on_every_surface
async def test_no_more_than_a_burst_is_pending(surface: Surface) -> None:
    """The rest waits in the kernel, whose buffer is the listener's own choice."""
    async with surface.open_uevents(subsystem="usb") as events:
        flood(lambda one: inject(text("add", f"/devices/made/up{one}", "usb")), 500)
        assert (await events.receive()).devpath.endswith("up0")
        pending = getattr(events, "_events", events)._items
        assert len(list(pending)) == bursts.MOST - 1
        assert events.statistics().datagrams == bursts.MOST


@on_every_surface
async def test_a_loss_is_handed_out_in_portions(surface: Surface) -> None:
    """However many devices were found, other tasks have their turn between them."""
    with Links() as links:
        for pair in names(range(100)):
            links.make(*pair)
        async with surface.open_uevents(subsystem="net", coldplug=True) as events:
            assert (await events.receive()).origin is Origin.COLDPLUG
            pending = getattr(events, "_events", events)._items
            assert len(list(pending)) == PORTION - 1


def test_an_event_is_at_most_two() -> None:
    """An addition that means that another device is gone; so a burst of them is 128 items."""
    reader = reading.uevents(coldplug=True).new_reader(Roots(frozenset({0})), Counter())
    reader.adopt(reader.begin(Look({}, 0, frozenset())), True)
    for index in (1, 2):
        texts = [
            text("add", f"/devices/virtual/net/{one}", IFINDEX=index * 100 + one, SEQNUM=index)
            for one in range(bursts.MOST)
        ]
        assert len(reader.read([Burst(KERNEL, texts)])) == index * bursts.MOST


def test_a_picture_that_no_look_corrects_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unheard removals leave devices behind: the first are forgotten, and no event is swallowed."""
    monkeypatch.setattr(picture, "ROOM", 100)
    reader = reading.uevents(coldplug=True).new_reader(Roots(frozenset({0})), Counter())
    assert reader.adopt(reader.begin(Look({}, 0, frozenset())), True) == []
    for one in range(1000):
        event = text("add", f"/devices/virtual/net/veth{one}", IFINDEX=one, SEQNUM=one + 1)
        assert len(reader.read([Burst(KERNEL, [event])])) == 1
        assert len(reader.known) <= 100
    gone = text("remove", "/devices/virtual/net/veth0", IFINDEX=0, SEQNUM=2000)
    assert [event.action for event in reader.read([Burst(KERNEL, [gone])])] == ["remove"]


def test_a_picture_has_room_for_twice_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine may have any number of devices; a look says how many it has."""
    monkeypatch.setattr(picture, "ROOM", 10)
    known: picture.Picture[Any] = picture.Picture()
    there = {
        b"/devices/%d" % one: read(text("add", f"/devices/{one}", SEQNUM=1)) for one in range(50)
    }
    known.adopt(picture.Comparison([], [], there, {}, set(), 1, frozenset()))
    for one in range(50, 110):
        known.news(read(text("add", f"/devices/{one}", SEQNUM=2)))
    assert len(known) == 110
    known.news(read(text("add", "/devices/more", SEQNUM=2)))
    assert len(known) == 111 - 27


@on_every_surface
async def test_notifications_of_strangers_leave_nothing(surface: Surface) -> None:
    """Nor do they reach whoever listens."""
    async with (
        surface.open_generic() as genl,
        genl.subscribe("nlctrl", receive_buffer=FLOOR) as heard,
    ):

        async def storm() -> None:
            lie = nls.message(16, b"\1\2\0\0")
            flood(lambda _: spoof_multicast(16, NLCTRL_NOTIFY, lie * 50), 100)
            told = await items(heard)
            assert [item for item in told if not isinstance(item, nls.Overrun)] == []

        await storm()
        with keeping_below(LEFT):
            for _ in range(30):
                await storm()
        assert heard.statistics().rejected.keys() == {"foreign_sender"}


@on_every_surface
async def test_messages_wait_in_the_kernel(surface: Surface) -> None:
    """Whoever is sent to holds as many as one receive takes, of the length that is read."""
    async with surface.open_user() as user:
        flood(lambda _: spoof(user.port_id, bytes(1000), protocol=USERSOCK), 100)
        await user.receive()
        pending = getattr(user, "_events", user)._items
        assert len(list(pending)) == messaging.MOST - 1


@on_every_surface
async def test_an_outbox_holds_its_capacity(surface: Surface) -> None:
    """And one more for the thread that posts, as it says; however long its peers do not read."""
    async with (
        surface.open_user(receive_buffer=FLOOR) as quiet,
        surface.outbox(capacity=50, deadline=60) as outbox,
    ):
        payload = bytes(1000)
        for _ in range(5000):
            outbox.post(payload, port_id=quiet.port_id)
            assert outbox.statistics().held <= 50 + 1
        await outbox.aclose(timeout=0.01)
        statistics = outbox.statistics()
        assert statistics.held == 0
        assert statistics.dropped["oldest"] > 1000


@st.composite
def senders(draw: st.DrawFn) -> Sender:
    """What the kernel may say of whoever sent a multicast."""
    few = st.sampled_from([0, 1, 2, 4242])
    credentials = draw(st.none() | st.builds(Credentials, few, few, few))
    return Sender(draw(few), draw(st.sampled_from([0, 1, 2])), credentials, draw(st.booleans()))


@given(
    senders(),
    st.binary(max_size=200)
    | st.sampled_from([uevents.udev_text(b"a=b\0"), text("add", "/x", SEQNUM=1)]),
    st.sampled_from(["kernel", "udev"]),
    st.booleans(),
)
def test_a_liar_makes_no_new_reasons(
    sender: Sender, data: bytes, source: Any, strict: bool
) -> None:
    """Whatever is in a datagram and beside it: counters have names of this code's."""
    rejected: Counter[str] = Counter()
    query = reading.uevents(source=source, strict=strict)
    query.new_reader(Roots(frozenset({0})), rejected).read([Burst(sender, [data])])
    assert rejected.keys() <= REASONS


def test_the_reasons_are_these() -> None:
    """Each stands in the code as a text, and none is made of what was heard."""
    files = (ROOT / "src" / "netlink_safe").rglob("*.py")
    counted = re.compile(r"rejected\[([^\]]*)\]")
    keys = {key for file in files for key in counted.findall(file.read_text("utf-8"))}
    assert {key.strip('"') for key in keys if key.startswith('"')} <= REASONS
    # What is no text is what one of the functions of trust, or a reader's grammar, returned.
    assert {key for key in keys if not key.startswith('"')} == {"reason", "origin", "told"}


def test_a_noted_property_is_read_to_an_end(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in udevd's database may be of any size."""
    from netlink_safe.protocol.sighting import Sighting

    monkeypatch.setattr(udev_database, "DATA", str(tmp_path))
    with open(tmp_path / "n1", "wb") as file:
        file.write(b"E:ID_A=1\nE:ID_B=")
        file.truncate(100 << 20)
    sighting = Sighting(b"net", b"IFINDEX=1\n", 1, True)
    tracemalloc.start()
    try:
        seen = udev_database.processed(b"/devices/x", sighting, is_foreign=False)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert seen is not None
    assert seen.uevent.startswith(b"ID_A=1\n")


def test_a_long_command_line_is_not_read_to_its_end() -> None:
    """A process has as many arguments as it likes, megabytes of them."""
    sleeping = [sys.executable, "-c", "print(flush=True); input()", *["x" * 100_000] * 15]
    pipe = subprocess.PIPE
    with subprocess.Popen(sleeping, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        tracemalloc.start()
        try:
            command = processes.command(process.pid)
            assert tracemalloc.get_traced_memory()[1] < 100_000
        finally:
            tracemalloc.stop()
        process.communicate(b"\n")
    assert len(command) == 200


def _numbers() -> Iterator[tuple[str, int]]:
    """What the page says in its table of bounds, by the name in the code."""
    section = PAGE.read_text("utf-8").partition("## What it can be made to hold")[2]
    for number, name in re.findall(r"(\d[\d,]*) <!-- (\w+\.\w+) -->", section):
        yield name, int(number.replace(",", ""))


def test_the_page_says_the_numbers_of_the_code() -> None:
    """Those that are fixed; the others are knobs."""
    said = dict(_numbers())
    assert said == {
        "pool.IDLE": pool.IDLE,
        "socket.RECEIVE_SIZE": RECEIVE_SIZE // 1024,
        "bursts.MOST": bursts.MOST,
        "bursts.ROOM": bursts.ROOM // 1024,
        "messaging.MOST": messaging.MOST,
        "messaging.ROOM": messaging.ROOM // 1024,
        "picture.ROOM": picture.ROOM,
        "following.PORTION": PORTION,
        "workers.LIMIT": workers.LIMIT,
        "exporter_server.THREADS": exporter_server.THREADS,
        "exporter_server.DESCRIPTORS": exporter_server.DESCRIPTORS,
        "exporter_server.LONGEST_HEADER": exporter_server.LONGEST_HEADER // 1024,
    }
