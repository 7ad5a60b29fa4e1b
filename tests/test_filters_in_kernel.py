"""Filters as the kernel runs them: the sockets that it gives are those that ``matches`` says.

``NETLINK_SAFE_HYPOTHESIS=thorough`` draws 20,000 filters, for some minutes.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kernel
import links
import netlink_safe as nls
import netlink_safe.blocking
import tcp_states
from netlink_safe.families.inet_bytecode import LARGEST, compiled
from netlink_safe.transport.cgroups import mounted_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SO_MARK: Final = 36
MARKS: Final = (1, 5, 0xFF01)


@contextlib.contextmanager
def in_own_cgroup() -> Iterator[str | None]:
    """A cgroup that the process is in meanwhile; None where there are none to be made."""
    root = mounted_at()
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        homes = [line.strip().split(":", 2)[2] for line in file if line.startswith("0:")]
    if root is None or not homes:
        yield None
        return
    home = root.rstrip("/") + homes[0]
    made = f"{home.rstrip('/')}/netlink_safe_{os.getpid()}"
    try:
        os.mkdir(made)
    except OSError:
        yield None
        return
    try:
        move_to(made)
        yield made
    finally:
        move_to(home)
        os.rmdir(made)


def move_to(cgroup: str) -> None:
    """Move this process, all threads of it, into a cgroup."""
    with contextlib.suppress(OSError), open(f"{cgroup}/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))


def connect(
    hold: Callable[[socket.socket], socket.socket],
    listening: tuple[socket.AddressFamily, str],
    calling: tuple[socket.AddressFamily, str],
    mark: int = 0,
    device: str = "",
) -> None:
    """Hold a listener and both ends of a connection to it, perhaps from another family."""
    listener = hold(socket.socket(listening[0]))
    listener.bind((listening[1], 0))
    listener.listen()
    client = hold(socket.socket(calling[0]))
    client.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    client.connect((calling[1], listener.getsockname()[1]))
    hold(listener.accept()[0])


def many_sockets(hold: Callable[[Any], Any]) -> None:
    """Hold TCP and UDP sockets of many states, addresses, marks and interfaces."""
    for family in tcp_states.LOOPBACK:
        hold(tcp_states.every_state(family))
    ipv4, ipv6 = socket.AF_INET, socket.AF_INET6
    connect(hold, (ipv6, "::"), (ipv4, "127.0.0.7"), MARKS[0])
    connect(hold, (ipv6, "::"), (ipv4, "127.255.0.1"), MARKS[1], "lo")
    connect(hold, (ipv4, "127.0.9.9"), (ipv4, "127.0.9.9"), MARKS[2])
    connect(hold, (ipv6, "::1"), (ipv6, "::1"), MARKS[1], "lo")
    for number in range(3):
        udp = hold(socket.socket(ipv4, socket.SOCK_DGRAM))
        udp.bind((f"127.0.{number}.1", 0))
        udp.setsockopt(socket.SOL_SOCKET, SO_MARK, MARKS[number])
        udp.connect(("127.0.0.1", 1000 + number))
        hold(socket.socket(ipv6, socket.SOCK_DGRAM)).bind(("::", 0))


def questions(where: nls.Filter | None) -> dict[str, list[Any]]:
    """The same of every kind of request that takes a filter."""
    both = nls.tcp_sockets(where=where)
    return {
        "both families in one walk": list(both),
        "each family": [each for request in both for each in request.instead],
        "bound and no more": list(nls.tcp_sockets(states="bound_inactive", where=where)),
        "UDP": list(nls.udp_sockets(where=where)),
    }


def conditions(rows: list[Any], cgroup: str | None) -> st.SearchStrategy[nls.Filter]:
    """Conditions that some of the rows meet, and others just do not."""
    ends = [end for row in rows for end in (row.source, row.destination)]
    sides: Any = st.sampled_from(["src", "dst", "any"])
    ports = st.sampled_from([*{end.port for end in ends}, 0, 0xFFFF])
    near = st.builds(lambda port, by: max(0, min(0xFFFF, port + by)), ports, st.integers(-1, 1))
    addresses = st.sampled_from([*{end.address for end in ends}, "::ffff:0.0.0.0", "127.0.0.0"])
    networks = st.builds(
        lambda address, bits: f"{address}/{min(bits, 128 if ':' in address else 32)}",
        addresses,
        st.integers(0, 128),
    )
    masks = st.sampled_from([0, 1, 0xFF, 0xFF00, 0xFFFFFFFF])
    interfaces: list[str | int] = [0, 1, 77, "lo"]
    cgroups: list[str | int] = list({row.cgroup_id or 0 for row in rows})
    if cgroup is not None:
        cgroups.append(cgroup)
    return st.one_of(
        st.builds(nls.Port, sides, near),
        st.builds(lambda side, ports: nls.Port(side, *sorted(ports)), sides, st.tuples(near, near)),
        st.builds(nls.Address, networks, sides),
        st.builds(lambda mark, mask: nls.Mark(mark & mask, mask), st.sampled_from(MARKS), masks),
        st.builds(nls.Interface, st.sampled_from(interfaces)),
        st.builds(nls.Cgroup, st.sampled_from(cgroups)),
    )


def combined(parts: st.SearchStrategy[nls.Filter]) -> st.SearchStrategy[nls.Filter]:
    """Filters of filters."""
    several = st.lists(parts, min_size=2, max_size=5).map(tuple)
    return several.map(nls.AllOf) | several.map(nls.AnyOf) | parts.map(lambda part: ~part)


def numbered(where: nls.Filter) -> nls.Filter:
    """The same with numbers for names, as rows have them."""
    if isinstance(where, nls.Not):
        return nls.Not(numbered(where.part))
    if isinstance(where, nls.AllOf | nls.AnyOf):
        return type(where)(tuple(map(numbered, where.parts)))
    if isinstance(where, nls.Interface) and isinstance(where.interface, str):
        return nls.Interface(socket.if_nametoindex(where.interface))
    if isinstance(where, nls.Cgroup) and isinstance(where.cgroup, str):
        return nls.Cgroup(os.stat(where.cgroup).st_ino)
    return where


def test_the_kernel_gives_what_matches_says() -> None:
    """Whatever the filter, of every kind of socket; the audit takes every program."""
    with contextlib.ExitStack() as held, nls.blocking.open_sock_diag() as diag:
        cgroup = held.enter_context(in_own_cgroup())
        many_sockets(held.enter_context)
        move_to("/".join((cgroup or "").split("/")[:-1]) or "/none")
        connect(held.enter_context, (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.1"))
        held.enter_context(socket.socket()).bind(("127.0.0.5", 0))
        rows = [row for asked in questions(None).values() for row in diag.dump(asked)]

        @settings(suppress_health_check=list(HealthCheck))
        @given(st.recursive(conditions(rows, cgroup), combined, max_leaves=25))
        def check(where: nls.Filter) -> None:
            inside = numbered(where)
            for kind, asked in questions(where).items():
                before = {row.cookie: row for row in diag.dump(questions(None)[kind])}
                given = {row.cookie for row in diag.dump(asked)}
                after = {row.cookie for row in diag.dump(questions(None)[kind])}
                for cookie in before.keys() & after:  # what was there all the while
                    row = before[cookie]
                    assert inside.matches(row) is (cookie in given), (kind, row)

        check()


def many(count: int) -> nls.Filter:
    """As many ports as that, each an instruction and a jump of 16 bytes, the last one of 12."""
    return nls.AnyOf(tuple(nls.Port("src", port) for port in range(1, count + 1)))


def test_the_largest_program_is_taken_and_a_larger_one_is_not_made() -> None:
    """The kernel takes what is just not too large, in every form of the request."""
    most = (LARGEST + 4) // 16
    assert len(compiled(many(most)).code) == 16 * most - 4
    with socket.socket() as listener, nls.blocking.open_sock_diag() as diag:
        listener.bind(("127.0.0.1", most))
        listener.listen()
        for asked in questions(many(most)).values():
            assert [row.source.port for row in diag.dump(asked)] in ([most], [])
        [row] = diag.dump(nls.tcp_sockets(where=many(most)))
        assert row.source.port == most
        assert list(diag.dump(nls.tcp_sockets(where=~many(most)))) == []
    with pytest.raises(nls.LocalProtocolError, match="networks or ranges"):
        nls.tcp_sockets(where=many(most + 1))


def test_a_name_is_looked_up_where_it_is_asked() -> None:
    """An interface of another namespace has that one's number, and is missed in this one."""

    def inside() -> list[socket.socket]:
        with links.Links() as made:
            made.make("first", "second")
            made.make("left", "right")
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"right")
            sock.listen()
            with nls.blocking.open_sock_diag(netns=path) as diag:
                rows = list(diag.dump(asked))
            assert [row.interface for row in rows] == [socket.if_nametoindex("right")]
            return [sock]

    asked = nls.tcp_sockets(where=nls.Interface("lo") | nls.Interface("right"))
    with kernel.named_namespace("elsewhere") as path:
        [sock] = kernel.in_namespace(path, inside)
        with (
            sock,
            nls.blocking.open_sock_diag() as diag,
            pytest.raises(nls.LocalProtocolError, match=r"no interface 'right'; there are lo"),
        ):
            list(diag.dump(asked))
