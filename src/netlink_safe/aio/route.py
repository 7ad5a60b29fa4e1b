"""Links in async code: looking at them, and deleting one without pulling a port.

May call ``transport``, ``families``, ``protocol``, ``wire``, ``aio.requests``, ``aio.waiting`` and
``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netlink_safe.aio.requests import RequestSocket
from netlink_safe.aio.waiting import Waiter, result
from netlink_safe.families import ctrl
from netlink_safe.families.link_guard import deletion
from netlink_safe.transport import opening
from netlink_safe.transport.locks import waits
from netlink_safe.transport.plans import Hands, carried_out
from netlink_safe.transport.workers import offload
from netlink_safe.wire.constants import NETLINK_ROUTE

if TYPE_CHECKING:
    from netlink_safe.transport.namespace import NetworkNamespace


class Route(RequestSocket):
    """Questions to rtnetlink; see RequestSocket for the verbs."""


def open_route(
    *,
    timeout: float = 5.0,
    receive_buffer: int | None = None,
    netns: NetworkNamespace = None,
) -> Route:
    """Open rtnetlink for questions about links, for ``async with``.

    ``timeout`` in seconds, above 0, is for each verb as a whole; ``math.inf`` waits for ever.
    ``receive_buffer`` is in the bytes that setsockopt takes, from 32 KiB to just below 1 GiB, by
    default 1 MiB, or less on a machine with less than 128 MiB of memory.
    ``netns`` is a name in /run/netns, a path with a slash in it, a pid or an object with
    ``fileno()``; by default it is the calling thread's own namespace.
    Raises LocalProtocolError for nonsense; and, when entered, FileNotFoundError where there is no
    such namespace, PermissionError without the right to enter it, NetlinkTimeout when the opening
    takes longer than ``timeout``.
    """
    return Route(opening.new_pool(NETLINK_ROUTE, timeout, receive_buffer, netns), timeout)


@waits
async def delete_link(
    name: str | int,
    detach: bool = False,
    force: bool = False,
    *,
    timeout: float = 5.0,
    netns: NetworkNamespace = None,
) -> None:
    """Delete a network link, unless a port of an Open vSwitch datapath would go with it.

    ``name`` is its name, an alternative one, of 1 to 127 bytes, or its index, from 1 to 2**31 - 1;
    ``netns`` the network namespace that it is in, as in ``open_route``.
    It looks at the link, at the other end of a pair, and at what stands on either and goes with it
    (VLAN, macvlan, vxlan and the like), here and in every network namespace that it may look into,
    and refuses with LinkInUseError, which names datapath, port and the command that takes the port
    out; so it does where the other end is in a namespace that it may not look into.
    With ``detach`` it takes the port out itself: the link is set down, the vport deleted and seen
    to be gone, and only then the link is deleted.  A port that a living process serves, which would
    put it back, it leaves alone.
    ``force`` goes on in spite of that, deletes a link whose other end cannot be looked at, and,
    without ``detach``, looks at nothing.
    ``timeout``, in seconds, above 0, is for all of it.  Where a step fails the link is set up
    again, a port that is out stays out, and what was done is in the error's notes; NetlinkTimeout
    says it in its text.  A cancellation, Ctrl-C, or a deadline that finds the kernel inside a
    system call undoes nothing: the link may stay down, and its port out; what was done is told in
    the same way.

    It cannot promise: that nobody makes the link a port between the look and the deletion, since
    the kernel has no order for both; to see what stands on it in a namespace that it may not look
    into, or that has no number here, no name in /run/netns and no process; anything about ports of
    a datapath in user space (netdev, DPDK), which do not show; or about a namespace that is deleted
    as a whole with one end in it.
    Raises LinkInUseError; KernelError (ENODEV where there is no such link, EPERM without
    CAP_NET_ADMIN, ``net/core/rtnetlink.c``: rtnetlink_rcv_msg); NetlinkTimeout; LocalProtocolError
    for what can be no link, no timeout and no namespace; FileNotFoundError, PermissionError for a
    namespace.
    """
    terms = opening.own_terms(timeout, f"the deletion of the link {name}")
    plan = deletion(name, detach, force)
    await result(offload(carried_out(plan, Hands(netns, ctrl), terms), terms), Waiter())
