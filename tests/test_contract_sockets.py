"""What every kernel does with a netlink socket: the running one, and the scripted one."""

from __future__ import annotations

import contextlib
import errno
import select
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

import netlink_safe as nls
import uevents
from netlink_safe.errors import OverrunError
from netlink_safe.protocol.exchange import Exchange
from netlink_safe.testing.filters import DEAF, attach, detach
from netlink_safe.transport.listening import ListeningSocket
from netlink_safe.transport.socket import NetlinkSocket
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG, NLMSG_DONE, NLMSG_ERROR
from netlink_safe.wire.header import build_message, iterate_messages
from worlds import UEVENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.protocol.request import Request
    from netlink_safe.wire.datagram import Datagram
    from netlink_safe.wire.header import Message
    from worlds import World

pytestmark = pytest.mark.anywhere

#: More rows than a first chunk holds, and more than two.
MANY: Final = 600
FIRST_CHUNK_AT_MOST: Final = 4096
CHUNK_AT_MOST: Final = 32 * 1024
SMALLEST_BUFFER: Final = 2304
TELL: Final = uevents.text("change", "/devices/virtual/net/lo")


@contextlib.contextmanager
def asking(receive_buffer: int = 1 << 20) -> Iterator[NetlinkSocket]:
    sock = NetlinkSocket(NETLINK_SOCK_DIAG, receive_buffer)
    with contextlib.closing(sock):
        yield sock


@contextlib.contextmanager
def listening(receive_buffer: int = 1 << 20) -> Iterator[ListeningSocket]:
    sock = ListeningSocket(UEVENT, receive_buffer, groups=[1])
    with contextlib.closing(sock):
        yield sock


def ask(sock: NetlinkSocket, *, of: Request[nls.TcpSocket] | None = None) -> int:
    """Ask for all listeners, or for something else; return the sequence number."""
    request = of or nls.tcp_sockets(states="listen", families="inet")[0]
    sequence = sock.next_sequence()
    sock.send(Exchange(request, sequence, sock.port_id, Counter()).data_to_send())
    return sequence


def readable(sock: NetlinkSocket | ListeningSocket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def received(sock: NetlinkSocket) -> list[Datagram]:
    """All that is to be had."""
    return list(iter(sock.receive, None))


def messages(datagrams: list[Datagram]) -> list[Message]:
    return [each for one in datagrams for each in iterate_messages(one.data)]


def heard(sock: ListeningSocket) -> int:
    """How many datagrams are to be had."""
    count = 0
    while bursts := sock.receive_many():
        count += sum(len(burst.texts) for burst in bursts)
    return count


def test_each_socket_has_a_port_id_of_its_own(world: World) -> None:
    """It is never 0, which is the kernel's."""
    with asking() as one, asking() as other:
        assert 0 != one.port_id != other.port_id != 0


def test_a_reply_comes_from_port_0_and_carries_the_requests_numbers(world: World) -> None:
    """Each message of it, to its end."""
    with world.listeners(3) as ports, asking() as sock:
        sequence = ask(sock)
        datagrams = received(sock)
        assert {(one.sender, one.group, one.truncated) for one in datagrams} == {(0, 0, False)}
        found = messages(datagrams)
        assert {(each.sequence, each.port_id) for each in found} == {(sequence, sock.port_id)}
        assert [each.type for each in found] == [20] * len(ports) + [NLMSG_DONE]


def test_chunks_of_a_dump_are_made_as_they_are_received(world: World) -> None:
    """The first one inside the send, and short; each further one inside the receive before it."""
    with world.listeners(MANY), asking() as sock:
        ask(sock)
        datagrams = received(sock)
    lengths = [len(one.data) for one in datagrams]
    assert len(lengths) >= 4
    assert 0 < lengths[0] <= FIRST_CHUNK_AT_MOST < lengths[1] <= CHUNK_AT_MOST
    assert len(messages(datagrams)) == MANY + 1


def test_a_socket_carries_one_dump_at_a_time(world: World) -> None:
    """A second one is refused with EBUSY while the first runs, and is welcome behind it."""
    with world.listeners(MANY), asking() as sock:
        first, second = ask(sock), ask(sock)
        found = messages(received(sock))
        refusals = [each for each in found if each.type == NLMSG_ERROR]
        assert [each.sequence for each in refusals] == [second]
        assert len([each for each in found if each.sequence == first]) == MANY + 1
        ask(sock)
        assert len(messages(received(sock))) == MANY + 1


def test_a_descriptor_is_readable_when_there_is_something(world: World) -> None:
    """And not before the request, nor behind the last datagram."""
    with asking() as sock:
        assert not readable(sock)
        assert sock.receive() is None
        ask(sock)
        assert readable(sock)
        received(sock)
        assert not readable(sock)


def test_a_short_receive_says_that_it_was_one(world: World) -> None:
    """The rest of the datagram is gone, and only MSG_TRUNC tells."""
    with world.listeners(20), asking() as sock:
        sock._receive_size = 100
        ask(sock)
        datagram = sock.receive()
        assert datagram is not None
        assert (len(datagram.data), datagram.truncated) == (100, True)


def test_an_unknown_type_is_refused_by_an_error_with_its_header(world: World) -> None:
    """The errno differs between protocols; the refusal has the numbers of the request."""
    with asking() as sock:
        sock.send(build_message(99, 5, 7, sock.port_id, b""))
        [refusal] = messages(received(sock))
        assert (refusal.type, refusal.sequence, refusal.port_id) == (NLMSG_ERROR, 7, sock.port_id)


def test_a_request_that_is_too_large_is_refused_before_it_is_sent(world: World) -> None:
    """It says how much this socket can send at once."""
    with asking() as sock:
        limit = sock.send_limit()
        with pytest.raises(nls.LocalProtocolError, match=f"the {limit} that this socket can send"):
            sock.send(bytes(limit + 1))


def test_a_receive_buffer_is_doubled_and_has_a_floor(world: World) -> None:
    """What is read back is what counts."""
    with listening(100_000) as sock:
        assert sock.effective_receive_buffer == sock.memory().receive_buffer == 200_000
    with listening(1024) as sock:
        assert sock.effective_receive_buffer == SMALLEST_BUFFER


def test_a_filter_loses_without_a_word_until_it_is_taken_away(world: World) -> None:
    """No error and no drop is told of what it dropped."""
    with asking() as sock:
        attach(sock._socket, DEAF)
        ask(sock)
        assert received(sock) == []
        assert sock.memory().drops == 0
        detach(sock._socket)
        ask(sock)
        assert messages(received(sock))[-1].type == NLMSG_DONE


def test_members_of_a_group_hear_what_is_told_there(world: World) -> None:
    """From port 0, to the one group."""
    with listening() as sock:
        world.tell(TELL)
        [burst] = sock.receive_many()
        assert (burst.sender.port_id, burst.sender.groups) == (0, 1)
        assert burst.texts[0].startswith(TELL)


def test_an_overrun_is_told_once_and_before_what_is_still_queued(world: World) -> None:
    """Then older datagrams come, and the drops are counted."""
    with listening(1024) as sock:
        for _ in range(20):
            world.tell(TELL)
        with pytest.raises(OSError, match="No buffer") as caught:
            sock._socket.recvmsg(65536, 0, 0x40)
        assert caught.value.errno == errno.ENOBUFS
        kept = heard(sock)
        assert kept > 0
        assert sock.overruns == 0, "told once"
        assert sock.losses() == 20 - kept


def test_a_congested_socket_loses_everything_until_its_queue_is_empty(world: World) -> None:
    """Without a second ENOBUFS, though the count of drops goes on."""
    with listening(1024) as sock:
        for _ in range(20):
            world.tell(TELL)
        with pytest.raises(OSError, match="No buffer"):
            sock._socket.recvmsg(65536, 0, 0x40)
        sock._socket.recvmsg(65536, 0, 0x40)
        before = sock.losses()
        world.tell(TELL)
        assert sock.losses() == before + 1
        heard(sock)
        assert sock.overruns == 0
        world.tell(TELL)
        assert heard(sock) == 1


def test_a_request_on_an_overrun_socket_is_told_as_an_overrun(world: World) -> None:
    """The transport turns ENOBUFS into OverrunError, with the drops that the kernel counted."""
    with asking(1024) as sock, world.listeners(MANY):
        ask(sock)
        for _ in range(10):
            ask(sock)  # each is refused with EBUSY, and in the end there is no room for that
        with pytest.raises(OverrunError) as caught:
            received(sock)
        assert caught.value.drops > 0


def test_what_is_closed_says_so(world: World) -> None:
    """Every call, and a second closing is harmless."""
    with asking() as sock:
        sock.close()
        sock.close()
        for call in (sock.receive, sock.fileno, lambda: ask(sock)):
            with pytest.raises(nls.ClosedError):
                call()
