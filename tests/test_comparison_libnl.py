"""What the page of comparison says of libnl, run with the machine's own."""

from __future__ import annotations

import ctypes
import socket
from typing import Final

import libnl
from compared import STORM, a_listener, receive_buffer, shrink, the_end, waits
from faults import attach, losing, spoof
from links import Links
from netlink_safe.wire.constants import NETLINK_ROUTE, NLMSG_DONE

GROUP_OF_LINKS: Final = 1
LIBNL_LOSES_THE_END: Final = f"""
import libnl, faults
with libnl.opened() as nl:
    faults.attach(nl.socket, faults.losing({NLMSG_DONE}))
    nl.ask()
    print("begins", flush=True)
    nl.receive()
"""


def test_libnl_waits_for_ever() -> None:
    """As it is; where it was made not to block it comes back, and the waiting is its user's."""
    with libnl.opened():
        assert waits(LIBNL_LOSES_THE_END)
    with libnl.opened() as nl:
        attach(nl.socket, losing(NLMSG_DONE))
        nl.lib.nl_socket_set_nonblocking(nl.pointer)
        nl.ask()
        assert nl.receive() == -libnl.NLE_AGAIN


def test_libnl_believes_a_stranger() -> None:
    """Whose numbers are right; and then takes the kernel's true answer for nobody's."""
    with a_listener(), libnl.opened() as nl:
        nl.ask()
        following = nl.next_sequence()
        assert (nl.receive(), nl.rows) == (0, 1)
        spoof(nl.port_id, the_end(following, nl.port_id))
        nl.ask()
        assert (nl.receive(), nl.rows) == (0, 0)
        nl.ask()
        assert nl.receive() == -libnl.NLE_SEQ_MISMATCH


def test_libnl_calls_an_overrun_out_of_memory() -> None:
    """Once; then come the messages that were queued, and what was lost has no number."""
    with libnl.opened(NETLINK_ROUTE) as nl, Links() as links:
        nl.lib.nl_socket_disable_seq_check(nl.pointer)
        nl.lib.nl_socket_set_nonblocking(nl.pointer)
        assert nl.lib.nl_socket_add_membership(nl.pointer, GROUP_OF_LINKS) == 0
        shrink(nl.socket)
        for number in range(STORM):
            links.make(f"left{number}", f"right{number}")
        assert nl.receive() == -libnl.NLE_NOMEM
        told = 0
        while nl.receive() == 0:
            told += nl.rows
        assert 0 < told < 2 * STORM


def test_libnl_has_a_smaller_buffer_than_the_kernel_gives() -> None:
    """32 KiB unless one says otherwise, which the kernel counts double."""
    with libnl.opened() as nl, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as plain:
        assert receive_buffer(nl.socket) == 64 * 1024 < receive_buffer(plain)


def test_libnl_keeps_tables_as_objects() -> None:
    """Links, and with them addresses, routes, neighbours, queues; in one call."""
    route = libnl.library("libnl-route-3.so.200")
    with libnl.opened(NETLINK_ROUTE) as nl, Links() as links:
        links.make("left", "right")
        cache = ctypes.c_void_p()
        assert route.rtnl_link_alloc_cache(nl.pointer, socket.AF_UNSPEC, ctypes.byref(cache)) == 0
        assert nl.lib.nl_cache_nitems(cache) == 3
        nl.lib.nl_cache_free(cache)
    for name in ("rtnl_addr", "rtnl_route", "rtnl_neigh", "rtnl_qdisc"):
        assert hasattr(route, f"{name}_alloc_cache")
