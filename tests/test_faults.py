"""Faults, made by the real kernel: the promised outcome, in time, and the next call works."""

from __future__ import annotations

import contextlib
import errno
import gc
import math
import pickle
import resource
import socket
import struct
import threading
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import faults
import kernel
import netlink_safe as nls
from netlink_safe import blocking
from netlink_safe.aio.waiting import AsyncBusyError
from netlink_safe.protocol.deadline import Deadline
from netlink_safe.transport import namespace as transport_namespace
from netlink_safe.transport import workers
from netlink_safe.transport.socket import NetlinkSocket
from netlink_safe.wire.constants import NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, SOL_NETLINK
from netlink_safe.wire.header import build_message, parse_message
from surfaces import SURFACES, Surface, on_every_surface, taking_at_most
from test_deadline import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from netlink_safe.protocol.request import Request
    from netlink_safe.wire.datagram import Datagram

NETLINK_ADD_MEMBERSHIP = 1
NETLINK_ROUTE = 0
RTM_GETLINK = 18
SKNLGRP_INET_TCP_DESTROY = 1

#: Connections and listeners are a dump each.
TABLES = 2
LISTENERS = 1


def connections(number: int) -> contextlib.ExitStack:
    """A listener and so many connections on loopback, both ends held until closed."""
    held = contextlib.ExitStack()
    listener = held.enter_context(socket.create_server(("127.0.0.1", 0)))
    for _ in range(number):
        held.enter_context(socket.create_connection(listener.getsockname()))
        held.enter_context(listener.accept()[0])
    return held


@pytest.fixture
def many() -> Iterator[int]:
    """More sockets than one chunk of a dump holds; yields how many rows that is."""
    with connections(200):
        yield 401


@pytest.fixture(autouse=True)
def _one_datagram_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rows gather in a worker: what is half-way for the consumer is half-way for the kernel."""
    monkeypatch.setattr(workers, "GATHER_SECONDS", 0)


@contextlib.asynccontextmanager
async def fresh(diag: Any) -> AsyncIterator[Any]:
    """Without the kernel socket from its opening, so that the first verb opens one."""
    async with diag:
        diag._pool._idle.pop().close()
        yield diag


async def exhaust(dump: Any) -> None:
    """Take every row that is left."""
    async for _ in dump:
        pass


def join_destroy_group(sock: socket.socket) -> None:
    """Have the kernel tell this socket of every TCP socket that ends."""
    sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, SKNLGRP_INET_TCP_DESTROY)


async def count(diag: Any, **options: Any) -> int:
    return len([row async for row in diag.dump(nls.tcp_sockets(families="inet"), **options)])


@on_every_surface
async def test_a_done_that_never_comes_ends_at_the_deadline(surface: Surface, many: int) -> None:
    """The first story: without a deadline this dump would still be waiting."""
    async with fresh(surface.open_sock_diag(timeout=0.3)) as diag:
        with (
            faults.filtered(faults.losing(NLMSG_DONE)),
            taking_at_most(5),
            pytest.raises(nls.NetlinkTimeout) as caught,
        ):
            await count(diag)
        error = caught.value
        assert error.rows == many - LISTENERS
        assert error.datagrams > 1
        assert error.attempts == 1, "rows were handed out, so that there is no other attempt"
        assert error.timeout == 0.3
        assert "the dump of inet TCP sockets" in str(error)
        assert await count(diag) == many
        assert diag.statistics().timeouts == 1


@on_every_surface
async def test_a_reply_that_never_comes_is_asked_for_again_and_then_given_up(
    surface: Surface,
) -> None:
    """No row was handed out: three sockets are tried, each within half of the time left."""
    async with fresh(surface.open_sock_diag(timeout=0.3)) as diag:
        with (
            faults.filtered(faults.DEAF),
            taking_at_most(5),
            pytest.raises(nls.NetlinkTimeout) as caught,
        ):
            await count(diag)
        assert (caught.value.attempts, caught.value.datagrams, caught.value.rows) == (3, 0, 0)
        assert diag.statistics().retries == 2
        assert await count(diag) == 0


@on_every_surface
async def test_a_second_attempt_on_a_fresh_socket_saves_the_call(
    surface: Surface, many: int
) -> None:
    """An attempt is given up while there is time for another."""
    async with fresh(surface.open_sock_diag(timeout=1)) as diag:
        with faults.filtered(faults.DEAF, sockets=1):
            assert await count(diag) == many
        assert diag.statistics().retries == 1


@on_every_surface
async def test_a_dump_that_dies_half_way_is_a_timeout_with_what_was_seen(
    surface: Surface, many: int
) -> None:
    """The first chunk came, the rest and its end did not: the rows that came are counted."""
    async with fresh(surface.open_sock_diag(timeout=0.3)) as diag:
        with faults.filtered(faults.DYING), pytest.raises(nls.NetlinkTimeout) as caught:
            await count(diag)
        assert 0 < caught.value.rows < many
        assert await count(diag) == many


@on_every_surface
async def test_a_fold_of_a_dying_dump_starts_again_from_zero(surface: Surface, many: int) -> None:
    """What the dead attempt had counted is not counted twice."""
    with faults.filtered(faults.DYING), pytest.raises(nls.NetlinkTimeout) as caught:
        await surface.collect(timeout=0.2)
    assert 0 < caught.value.rows < 3 * many
    with faults.filtered(faults.DYING, sockets=1):
        stats = await surface.collect(timeout=2)
    assert stats.states[nls.TcpState.ESTABLISHED] == many - 1
    assert stats.socket.attempts == TABLES + 1
    assert stats.socket.retries == 1


@on_every_surface
@pytest.mark.parametrize("method", ["dump", "counters"])
async def test_collect_fails_in_time_and_the_next_call_works(surface: Surface, method: str) -> None:
    """With DONE filtered away a second is a second, and nothing is left to trip over."""
    with (
        faults.filtered(faults.losing(NLMSG_DONE)),
        taking_at_most(2),
        pytest.raises(nls.NetlinkTimeout) as caught,
    ):
        await surface.collect(timeout=1, method=method)
    assert caught.value.attempts == 3
    stats = await surface.collect(method=method)
    assert sum(stats.states.values()) == 0


@on_every_surface
async def test_an_error_that_never_comes_ends_at_the_deadline(surface: Surface) -> None:
    """A request whose refusal is lost ends like one whose reply is lost."""
    async with fresh(surface.open_sock_diag(timeout=0.3)) as diag:
        with faults.filtered(faults.losing(NLMSG_ERROR)), pytest.raises(nls.NetlinkTimeout):
            await diag.request(nls.tcp_socket(("127.0.0.1", 1)))


@on_every_surface
async def test_a_spoofed_reply_is_counted_and_not_believed(
    surface: Surface, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A privileged process has port ID, sequence and type right: it is still not port 0."""
    send = NetlinkSocket.send

    def spoof_and_send(sock: NetlinkSocket, data: bytes) -> None:
        asked = parse_message(data, 0)
        done = build_message(NLMSG_DONE, 2, asked.sequence, sock.port_id, bytes(4))
        row = build_message(asked.type, 2, asked.sequence, sock.port_id, bytes([2, 1]) + bytes(70))
        for datagram in (row, done):
            in_its_namespace(partial(faults.spoof, sock.port_id, datagram))
        send(sock, data)

    monkeypatch.setattr(NetlinkSocket, "send", spoof_and_send)
    async with surface.open_sock_diag() as diag:
        in_its_namespace = diag._pool.namespace.run
        assert await count(diag) == many
        assert diag.statistics().rejected == {"foreign_sender": 2 * TABLES}


@on_every_surface
async def test_a_flood_of_spoofed_replies_does_not_hold_an_attempt_up(surface: Surface) -> None:
    """What is rejected is no arrival: the silence of the kernel goes on counting under it."""
    targets: list[int] = []
    over = threading.Event()

    def flood() -> None:
        while not over.is_set():
            for port_id in targets:
                faults.spoof_or_miss(port_id, bytes(4000))

    def aim(sock: socket.socket) -> None:
        faults.attach(sock, faults.passing_only(4000))
        targets[:] = [sock.getsockname()[0]]

    flooder = threading.Thread(target=flood)
    flooder.start()
    try:
        with faults.on_open(aim), taking_at_most(10), pytest.raises(nls.NetlinkTimeout) as caught:
            await surface.collect(timeout=1)
    finally:
        over.set()
        flooder.join()
    assert caught.value.attempts > 1
    assert caught.value.rows == 0
    assert caught.value.datagrams > 0


@on_every_surface
async def test_a_truncated_datagram_is_an_error_and_never_a_short_reply(
    surface: Surface, many: int
) -> None:
    """A receive of 4 KiB on a socket that once received more would lose rows without a word."""
    async with surface.open_sock_diag() as diag:
        assert await count(diag) == many
        [sock] = diag._pool._idle
        sock._receive_size = 4096
        with pytest.raises(nls.TruncatedError, match="4096 bytes"):
            await count(diag)
        assert await count(diag) == many


@on_every_surface
async def test_enobufs_during_a_dump_is_an_overrun_with_its_drops(surface: Surface) -> None:
    """Multicasts that do not fit set ENOBUFS on the dumping socket: rows handed out, no retry."""
    with connections(200) as held:
        async with fresh(surface.open_sock_diag(receive_buffer=32 * 1024)) as diag:
            with faults.on_open(join_destroy_group):
                dump = diag.dump(nls.tcp_sockets(families="inet"))
                await anext(aiter(dump))
            held.close()
            kernel.until(lambda: diag.statistics().drops > 0)  # it is told from a work queue
            with pytest.raises(nls.OverrunError) as caught:
                await exhaust(dump)
            assert caught.value.drops > 0
            assert diag.statistics().overruns == 1
            assert diag.statistics().drops >= caught.value.drops


@on_every_surface
async def test_enobufs_before_any_row_is_asked_again(surface: Surface) -> None:
    """Nothing was handed out: a fresh socket answers, and the overrun is counted."""
    held = connections(200)

    def overrun(sock: socket.socket) -> None:
        if not hooked:
            hooked.append(sock)
            join_destroy_group(sock)
            held.close()
            kernel.until(lambda: _drops(sock) > 0)

    hooked: list[socket.socket] = []
    async with fresh(surface.open_sock_diag(receive_buffer=32 * 1024)) as diag:
        with faults.on_open(overrun):
            await count(diag)
        statistics = diag.statistics()
    assert (statistics.overruns, statistics.retries) == (1, 1)
    assert statistics.drops > 0


@on_every_surface
async def test_a_refused_request_says_which_and_leaves_the_object_usable(
    surface: Surface, many: int
) -> None:
    """The kernel's EINVAL comes with the name of the request."""
    good, _ = nls.tcp_sockets(families="inet")
    bad = attrs.evolve(good, payload=good.payload[:20], name="half a request")
    async with surface.open_sock_diag() as diag:
        with pytest.raises(nls.KernelError, match=r"refused half a request: .*EINVAL") as caught:
            _ = [row async for row in diag.dump(bad)]
        assert caught.value.errno == errno.EINVAL
        assert isinstance(caught.value, OSError)
        assert await count(diag) == many


@on_every_surface
async def test_a_dump_of_what_the_kernel_lacks_is_not_supported(surface: Surface) -> None:
    """Protocol 254 has no inet_diag handler: ENOENT, told as what is missing."""
    good, _ = nls.tcp_sockets(families="inet")
    payload = bytearray(good.payload)
    payload[1] = 254
    async with surface.open_sock_diag() as diag:
        with pytest.raises(nls.NotSupported, match="does not support TCP sockets over sock_diag"):
            _ = [row async for row in diag.dump(attrs.evolve(good, payload=bytes(payload)))]


@on_every_surface
async def test_the_kernels_own_words_are_in_the_error(surface: Surface) -> None:
    """A dump of links with a nonsense header, strictly checked: the extended ack explains."""
    nonsense: Request[Any] = attrs.evolve(
        nls.tcp_sockets(families="inet")[0],
        name="a dump of links",
        protocol=NETLINK_ROUTE,
        type=RTM_GETLINK,
        row_type=RTM_GETLINK - 2,
        payload=struct.pack("=BxHiII", 0, 0, 0, 0, 7),
    )
    async with surface.open_sock_diag() as diag:
        diag._pool.protocol = NETLINK_ROUTE
        diag._pool._idle.pop().close()
        with pytest.raises(nls.KernelError, match="the kernel says: Invalid") as caught:
            await exhaust(diag.dump(nonsense))
    assert caught.value.extack is not None
    assert caught.value.extack.message is not None


def interrupting(patch: pytest.MonkeyPatch, dumps: int) -> None:
    """Have the kernel say of the first so many dumps that their table changed."""
    receive = NetlinkSocket.receive
    interrupted: list[int] = []

    def interrupt(sock: NetlinkSocket) -> Datagram | None:
        datagram = receive(sock)
        if datagram is None or len(interrupted) >= dumps:
            return datagram
        message = parse_message(datagram.data, 0)
        if message.type == NLMSG_DONE:
            interrupted.append(1)
        flags = struct.pack("=H", message.flags | NLM_F_DUMP_INTR)
        return attrs.evolve(datagram, data=datagram.data[:6] + flags + datagram.data[8:])

    patch.setattr(NetlinkSocket, "receive", interrupt)


@on_every_surface
async def test_an_interrupted_dump_is_asked_for_again_where_no_row_was_handed_out(
    surface: Surface, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold starts again, at most twice; then it is reported."""
    interrupting(monkeypatch, 2)
    stats = await surface.collect()
    assert sum(stats.states.values()) == many
    assert stats.socket.attempts == TABLES + 2
    interrupting(monkeypatch, 3)
    with pytest.raises(nls.DumpInterrupted, match="rows may be missing or double"):
        await surface.collect()


@on_every_surface
async def test_an_interrupted_dump_is_reported_or_accepted_as_the_caller_says(
    surface: Surface, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows were handed out, so that retry is none; accept takes them as they are."""
    interrupting(monkeypatch, 100)
    async with surface.open_sock_diag() as diag:
        assert await count(diag, when_interrupted="accept") == many
        for choice in ("retry", "raise"):
            with pytest.raises(nls.DumpInterrupted):
                await count(diag, when_interrupted=choice)
        assert diag.statistics().retries == 0
        assert diag.statistics().interrupted == TABLES + 2
        with pytest.raises(nls.LocalProtocolError, match="none of retry, raise, accept"):
            await count(diag, when_interrupted="ignore")


@on_every_surface
async def test_a_refusal_behind_rows_is_an_error_and_no_second_question(
    surface: Surface, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An errno that means "ask in other words" at the start means a dead dump at the end."""
    receive = NetlinkSocket.receive

    def refuse_at_the_end(sock: NetlinkSocket) -> Datagram | None:
        datagram = receive(sock)
        if datagram is None or parse_message(datagram.data, 0).type != NLMSG_DONE:
            return datagram
        refused = struct.pack("=i", -errno.EINVAL)
        return attrs.evolve(datagram, data=datagram.data[:16] + refused + datagram.data[20:])

    monkeypatch.setattr(NetlinkSocket, "receive", refuse_at_the_end)
    async with surface.open_sock_diag() as diag:
        with pytest.raises(nls.KernelError, match="EINVAL"):
            await exhaust(diag.dump(nls.tcp_sockets()))
        assert diag.statistics().attempts == 1


@on_every_surface
async def test_an_opening_that_the_kernel_holds_up_ends_at_the_deadline(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening a protocol may load a module, and a path may lie on a mount that is dead."""
    before = kernel.descriptors()
    release = threading.Event()
    opened = transport_namespace._open_path

    def stuck(path: str, missing: str) -> int:
        assert release.wait(30)
        return opened(path, missing)

    monkeypatch.setattr(transport_namespace, "_open_path", stuck)
    try:
        with taking_at_most(5), pytest.raises(nls.NetlinkTimeout, match="the opening of a netlink"):
            await surface.collect(timeout=0.2, netns="/proc/self/ns/net")
    finally:
        release.set()
    kernel.until(lambda: kernel.descriptors() <= before)  # the thread lets go of what it opened


@on_every_surface
async def test_what_is_dropped_without_being_closed_leaks_nothing(surface: Surface) -> None:
    """Kernel sockets, namespace and wakeup go with the last reference."""
    before = len(kernel.descriptors())
    for _ in range(20):
        diag = surface.open_sock_diag()
        with warnings.catch_warnings(action="ignore"):  # a socket that nobody closed is told of
            await count(diag)
            del diag
            gc.collect()
    assert len(kernel.descriptors()) == before


@on_every_surface
async def test_without_a_descriptor_to_be_had_nothing_is_left_and_the_next_call_works(
    surface: Surface,
) -> None:
    """EMFILE is the system's own error, at whichever descriptor it comes."""
    await surface.collect()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for spare in range(6):
        highest = max(number for number, _ in kernel.descriptors())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + spare, hard))
        try:
            with contextlib.suppress(OSError):
                await surface.collect()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert sum((await surface.collect()).states.values()) == 0


def test_errors_survive_pickling() -> None:
    """They come whole out of another process."""
    timeout = nls.NetlinkTimeout("a reply", 2.0, attempts=3, outcome="unknown")
    refused = nls.KernelError(22, "a dump", nls.ExtendedAck("no such thing"))
    missing = nls.NotSupported(2, "a feature", "6.8")
    for error in (timeout, refused, missing, nls.DecodeError("bad", 3, (1, 2)), AsyncBusyError()):
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)
        assert getattr(copy, "errno", None) == getattr(error, "errno", None)


@on_every_surface
async def test_dumps_at_once_have_kernel_sockets_of_their_own(surface: Surface, many: int) -> None:
    """One inside the other, several times over: no EBUSY, and no row of the other's."""
    async with surface.open_sock_diag() as diag:
        outer = 0
        async for _ in diag.dump(nls.tcp_sockets(families="inet")):
            if outer % 100 == 0:
                assert await count(diag) == many
            outer += 1
        assert outer == many
        assert diag.statistics().open_sockets == 2


@on_every_surface
async def test_an_abandoned_dump_leaves_nothing_for_the_next_one(
    surface: Surface, many: int
) -> None:
    """break closes the kernel socket at once, by the last reference."""
    async with surface.open_sock_diag() as diag:
        for _ in range(20):
            async for _row in diag.dump(nls.tcp_sockets()):
                break
        assert diag.statistics().open_sockets == 0
        assert await count(diag) == many
        assert diag.statistics().rejected == {}


@on_every_surface
async def test_an_error_of_the_consumer_closes_its_dump(surface: Surface, many: int) -> None:
    """The exception passes through, and the next dump is whole."""
    async with surface.open_sock_diag() as diag:
        with pytest.raises(ZeroDivisionError):
            _ = [1 // (row.state - row.state) async for row in diag.dump(nls.tcp_sockets())]
        assert diag.statistics().open_sockets == 0
        assert await count(diag) == many


@on_every_surface
async def test_what_is_closed_says_so(surface: Surface, many: int) -> None:
    """Every verb raises ClosedError, a dump under way too; closing twice is harmless."""
    diag = surface.open_sock_diag()
    dump = diag.dump(nls.tcp_sockets())
    await anext(aiter(dump))
    await diag.aclose()
    await diag.aclose()
    with pytest.raises(nls.ClosedError, match="open a new one"):
        await exhaust(dump)
    with pytest.raises(nls.ClosedError):
        diag.dump(nls.tcp_sockets())
    with pytest.raises(nls.ClosedError):
        await diag.read_proc_net("snmp")
    assert diag.statistics().open_sockets == 0


@on_every_surface
async def test_ten_thousand_dumps_leak_nothing(surface: Surface) -> None:
    """Descriptors and threads are as many after 10,000 dumps as after one."""
    listening = nls.tcp_sockets(states=["listen"], families="inet")
    async with surface.open_sock_diag() as diag:
        _ = [row async for row in diag.dump(listening)]
        before = len(kernel.descriptors()), kernel.threads()
        for _ in range(10_000):
            async for _row in diag.dump(listening):
                raise AssertionError("nobody listens here")
        assert len(kernel.descriptors()) == before[0]
        assert kernel.threads() <= before[1] + 1
        assert diag.statistics().attempts == 10_001


@on_every_surface
async def test_the_consumers_time_does_not_count(surface: Surface, many: int) -> None:
    """A dump's deadline stands still while the consumer has a row."""
    async with surface.open_sock_diag() as diag:
        clock = Clock()
        rows = 0
        async for _ in diag.dump(nls.tcp_sockets(), timeout=Deadline(0.5, clock)):
            clock.now += 100
            rows += 1
        assert rows == many


@on_every_surface
async def test_a_kernel_that_holds_a_call_up_does_not_hold_its_caller(surface: Surface) -> None:
    """At the deadline the caller is free; the thread closes up when the kernel lets it go."""
    async with surface.open_sock_diag(timeout=0.2) as diag:
        rare = nls.tcp_sockets(states=["close_wait"])
        with (
            faults.stalled_sends() as stall,
            taking_at_most(5),
            pytest.raises(nls.NetlinkTimeout, match="has not come back from a system call"),
        ):
            _ = [row async for row in diag.dump(rare)]
        assert stall.entered.is_set()
        kernel.until(lambda: diag.statistics().open_sockets == 0)
        assert await count(diag) == 0


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"receive_buffer": 1024}, "1024 is below the floor of 32768 bytes.*ENOBUFS"),
        ({"receive_buffer": 2**31}, "above the"),
        ({"receive_buffer": "1M"}, "no whole number of bytes"),
        ({"timeout": 0}, r"must be above 0 seconds.*math\.inf"),
        ({"timeout": math.nan}, "must be above 0 seconds"),
        ({"timeout": None}, r"no number of seconds.*math\.inf"),
    ],
)
def test_nonsense_is_refused_before_anything_is_opened(
    surface: Surface, options: dict[str, Any], said: str
) -> None:
    """A buffer of 1024 is refused with the story, a timeout of None with the way to mean it."""
    with pytest.raises(nls.LocalProtocolError, match=said):
        surface.open_sock_diag(**options)


@on_every_surface
async def test_the_receive_buffer_is_forced_and_read_back(surface: Surface) -> None:
    """The kernel doubles it; past rmem_max it takes the machine's own CAP_NET_ADMIN."""
    rmem_max = kernel.rmem_max()
    async with surface.open_sock_diag(receive_buffer=2 * rmem_max) as diag:
        statistics = diag.statistics()
    assert statistics.requested_receive_buffer == 2 * rmem_max
    assert statistics.receive_buffer == 2 * rmem_max * (2 if kernel.may_force_buffers() else 1)


def test_without_the_right_to_force_it_the_effective_size_is_told() -> None:
    """An unprivileged process gets what rmem_max allows, and the statistics say so."""

    def unprivileged() -> tuple[int, int]:
        kernel.drop_all_rights()
        with blocking.open_sock_diag(receive_buffer=2**29) as diag:
            statistics = diag.statistics()
            return statistics.requested_receive_buffer, statistics.receive_buffer

    allowed = 2 * kernel.rmem_max()
    assert kernel.in_child(unprivileged) == str((2**29, allowed))


def test_an_unprivileged_user_sees_sockets_without_their_marks(many: int) -> None:
    """sock_diag asks no right for a look; the mark takes CAP_NET_ADMIN."""

    def unprivileged() -> tuple[int, set[int | None]]:
        kernel.drop_all_rights()
        with blocking.open_sock_diag() as diag:
            rows = list(diag.dump(nls.tcp_sockets()))
            return len(rows), {row.mark for row in rows}

    assert kernel.in_child(unprivileged) == str((many, {None}))


def test_a_forked_child_cannot_use_its_parents_socket(many: int) -> None:
    """The child would steal the parent's replies; it is told to open one of its own, and can."""
    with blocking.open_sock_diag() as diag:
        dump = iter(diag.dump(nls.tcp_sockets()))
        next(dump)

        def old() -> int:
            return len(list(diag.dump(nls.tcp_sockets())))

        def under_way() -> int:
            return len(list(dump))

        def fresh() -> int:
            diag.close()
            with blocking.open_sock_diag() as own:
                return len(list(own.dump(nls.tcp_sockets())))

        assert "opened before a fork" in kernel.in_child(old)
        assert "opened before a fork" in kernel.in_child(under_way)
        assert kernel.in_child(fresh) == str(many)
        assert 1 + len(list(dump)) == many


def test_a_forked_child_can_offload_although_the_threads_are_gone() -> None:
    """A worker thread does not survive a fork; the child makes its own."""
    rare = nls.tcp_sockets(states=["close_wait"])

    def ask() -> int:
        with blocking.open_sock_diag() as diag:
            return len(list(diag.dump(rare)))

    assert ask() == 0
    assert kernel.in_child(ask) == "0"


def test_the_interpreters_exit_does_not_wait_for_a_thread_in_the_kernel() -> None:
    """Worker threads are daemons: a process that gave up can end."""
    program = """
import sys, threading, time
from netlink_safe import blocking, errors
from netlink_safe.transport.socket import NetlinkSocket
NetlinkSocket.send = lambda *_: threading.Event().wait()
with blocking.open_sock_diag(timeout=0.1) as diag:
    try:
        list(diag.dump(blocking.tcp_sockets(states=["close_wait"])))
    except errors.NetlinkTimeout:
        sys.exit(7)
"""
    assert kernel.run_python(program, seconds=20) == 7


def _drops(sock: socket.socket) -> int:
    return int(struct.unpack("=9I", sock.getsockopt(socket.SOL_SOCKET, 55, 36))[8])
