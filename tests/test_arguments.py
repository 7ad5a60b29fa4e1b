"""What is nonsense is told where it is said, by an error of the library's own."""

from __future__ import annotations

import socket
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import kernel
import netlink_safe as nls
from netlink_safe import testing
from netlink_safe.collectors.prometheus import TcpStatCollector
from netlink_safe.families import ovs
from netlink_safe.testing import faults, filters
from surfaces import Surface, on_every_surface

if TYPE_CHECKING:
    from collections.abc import Callable


def said(call: Any, *arguments: Any, **named: Any) -> Callable[[], object]:
    """What a type checker would not let pass."""
    return partial(call, *arguments, **named)


#: What somebody may write who has not read closely, and what the error is to name.
NONSENSE: dict[str, tuple[Callable[[], object], str]] = {
    "states of a float": (said(nls.tcp_sockets, states=5.0), "5.0 is no state"),
    "states of an object": (said(nls.tcp_sockets, states=object()), "is no state"),
    "a condition of a number": (said(nls.AllOf, 5), "are no conditions"),
    "coldplug of a text": (said(nls.open_uevents, coldplug="no"), "coldplug='no' is neither"),
    "strict of a number": (said(nls.open_uevents, strict=1), "strict=1 is neither"),
    "a version of True": (
        said(nls.generic_request, "nlctrl", 3, version=True),
        "version=True is no number",
    ),
    "idempotent of a text": (
        said(nls.generic_request, "nlctrl", 3, idempotent="yes"),
        "idempotent='yes' is neither",
    ),
    "a datapath too high": (said(ovs.vport, "a", 2**40), "datapath=1099511627776 is neither"),
    "a datapath below 0": (said(ovs.delete_vport, "a", -5), "datapath=-5 is neither"),
    "a port below 0": (said(ovs.new_vport, 1, "a", number=-1), "number: -1 is no number"),
    "a type in words": (said(ovs.new_vport, 1, "a", type="gre"), "type: 'gre' is no number"),
    "upcalls below 0": (
        said(ovs.new_vport, 1, "a", upcall_ports=(0, -1)),
        "upcall_ports: -1 is no number",
    ),
    "a namespace in surrogates": (
        said(nls.open_sock_diag, netns="\ud800"),
        "names no network namespace",
    ),
    "namespaces that are none": (
        said(TcpStatCollector, namespaces=5),
        "namespaces=5 is no function",
    ),
    "no program": (said(testing.filtered, None), "is no program"),
    "a program of a byte": (said(testing.filtered, b"x"), "is no program"),
    "an empty program": (said(testing.filtered, []), "from 1 to 4096 instructions"),
    "a type in letters": (said(testing.lose, "x"), "message_type='x' is no whole"),
    "half a socket": (said(testing.deaf, sockets=1.5), "sockets=1.5 is no whole"),
    "a message type too high": (said(filters.losing, 70000), "message_type=70000 is no whole"),
    "a length below 0": (said(filters.passing_only, -1), "length=-1 is no whole"),
    "sockets below 0": (said(faults.lose, 3, sockets=-1), "sockets=-1 is no whole"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_told_at_once(case: str) -> None:
    """Before anything is opened, and by what it was called."""
    call, told = NONSENSE[case]
    with pytest.raises(nls.LocalProtocolError) as raised:
        call()
    assert told in str(raised.value)


def test_one_condition_alone_is_all_of_them() -> None:
    """As if it stood in a list."""
    port = nls.Port("src", 1)
    assert said(nls.AllOf, port)() == nls.AllOf([port])
    assert said(nls.AnyOf, port)() == nls.AnyOf([port])


def test_a_newer_type_of_port_is_passed_on() -> None:
    """The kernel may know more of them than this library does."""
    assert ovs.new_vport(1, "a", type=ovs.VportType(9)).name == "a new port a of Open vSwitch"


@on_every_surface
async def test_nonsense_in_a_verb_destroys_and_deletes_nothing(surface: Surface) -> None:
    """A text is no yes: neither for all sockets, nor for a port's link."""
    async with surface.open_sock_diag() as diag:
        with pytest.raises(nls.LocalProtocolError, match="all='no' is neither"):
            await diag.destroy(nls.tcp_sockets(), all="no")
        with pytest.raises(nls.LocalProtocolError, match="new_fold=5 is no function"):
            await diag.fold(nls.tcp_sockets(), 5)
        for name in ("a\0b", "../self/mem", "/etc/passwd", "", 5):
            with pytest.raises((nls.LocalProtocolError, TypeError)):
                await diag.read_proc_net(name)
        with pytest.raises(IsADirectoryError):
            await diag.read_proc_net("stat")
        assert "Tcp:" in (await diag.read_proc_net("snmp"))[0]
        with pytest.raises(nls.LocalProtocolError, match="'tcp' is no Request"):
            diag.dump("tcp")
    for words in ({"detach": "no"}, {"force": "no"}):
        with pytest.raises(nls.LocalProtocolError, match="='no' is neither"):
            await surface.delete_link("lo", **words)


@on_every_surface
async def test_a_closed_file_is_no_namespace(surface: Surface) -> None:
    """It says so, and that an open one is wanted."""
    with socket.socket() as sock, tempfile.TemporaryFile() as file:
        pass
    for closed in (sock, file):
        with pytest.raises(nls.LocalProtocolError, match="is closed; give one that is open"):
            async with surface.open_sock_diag(netns=closed):
                pass


@on_every_surface
async def test_a_subscription_listens_where_its_object_asks(surface: Surface) -> None:
    """Whatever has become of the file by which the namespace was named."""
    with kernel.named_namespace("blue") as path:
        async with opened_by_file(surface, path) as diag, diag.subscribe_destroyed() as closing:
            port = kernel.in_namespace(path, bound_and_closed)
            told = await closing.receive()
            assert isinstance(told, nls.UdpSocket)
            assert told.source.port == port


def opened_by_file(surface: Surface, path: str) -> Any:
    """What asks in the namespace of a file that is closed by now."""
    with open(path, encoding="ascii") as file:
        return surface.open_sock_diag(netns=file)


def bound_and_closed() -> int:
    """The port that a UDP socket had."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@on_every_surface
async def test_what_is_not_there_or_not_allowed_is_told_with_what_to_do(surface: Surface) -> None:
    """By errno alone nobody knows which list to look at, or which right is meant."""
    with pytest.raises(nls.KernelError, match=r"ENODEV\): links\(\) lists those that are there"):
        await surface.delete_link("nothing")
    async with surface.open_sock_diag() as diag:
        gone = nls.tcp_socket(("127.0.0.1", 9), ("127.0.0.1", 9))
        with pytest.raises(nls.KernelError, match=r"ENOENT\): there is no such socket now"):
            await diag.request(gone)
