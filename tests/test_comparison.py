"""What the page of comparison says of others: each claim that can be run here is run.

Peers are those that are installed: pyroute2, psutil, pyudev over the machine's libudev, Debian's
node_exporter, and in a room of its own libnl.  Faults are made by the kernel, on the peer's own
socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import importlib.resources
import importlib.util
import json
import os
import re
import socket
import subprocess
from typing import Any, Final

import psutil
import pytest
import pyudev
from pyroute2 import AsyncIPRoute, DiagSocket, IPRoute, UeventSocket

import debian_peers
import kernel
import netlink_safe.blocking as nls
import test_comparison_libnl
import uevents
from compared import (
    COPIED,
    EVENT,
    SMALLEST,
    STORM,
    TESTS,
    a_listener,
    receive_buffer,
    run,
    shrink,
    storm,
    the_end,
)
from faults import spoof
from links import Links

PAGE: Final = TESTS.parent / "docs" / "explanation" / "comparison.md"
SO_GET_FILTER: Final = 26


# pyroute2.  That its dumps wait for ever, and that a refusal is an empty tuple, is shown where the
# page for its users is: test_agent_pages.py.


def test_pyroute2_believes_a_stranger() -> None:
    """Whose numbers are right: a dump of one row comes to none, and no error."""
    with a_listener(), DiagSocket() as diag:
        diag.bind()
        port_id = diag.asyncore.socket.getsockname()[0]
        assert len(diag.get_sock_stats(family=socket.AF_INET)) == 1
        (used,) = diag.asyncore.addr_pool.ban
        spoof(port_id, the_end(used["addr"] + 1, port_id))
        assert diag.get_sock_stats(family=socket.AF_INET) == ()
        assert len(diag.get_sock_stats(family=socket.AF_INET)) == 1


def test_pyroute2_hands_out_uevents_of_strangers() -> None:
    """A multicast of a process's, from a port of its own, looks as the kernel's does."""
    with UeventSocket() as listener:
        listener.bind()
        uevents.multicast(EVENT)
        (told,) = listener.get()
    assert told["DEVPATH"] == "/devices/virtual/net/ghost"


#: Prints what each of several calls raises; the errors leave what only a program's end closes.
OVERRUN_OF_PYROUTE2: Final = f"""
import contextlib, json, socket
from pyroute2 import IPRoute
from links import Links
route = IPRoute()
route.bind()
route.asyncore.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, {COPIED})
with Links() as links:
    for number in range({STORM}):
        links.make(f"left{{number}}", f"right{{number}}")
with contextlib.suppress(OSError):
    while True:
        list(route.get())
raised = []
for call in (route.get, route.get, route.get_links, route.get_links):
    try:
        list(call())
    except OSError as error:
        raised.append(error.errno)
with IPRoute() as another:
    links = len(list(another.get_links()))
print(json.dumps([raised, links]))
"""


def test_pyroute2_raises_for_ever_behind_an_overrun() -> None:
    """Its listener and its requests alike, on that socket; a new one works."""
    ended = run(OVERRUN_OF_PYROUTE2)
    assert json.loads(ended) == [[errno.ENOBUFS] * 4, 2 * STORM + 1]


def test_pyroute2_asks_for_a_large_buffer() -> None:
    """Several times the kernel's default, where it is permitted."""
    with IPRoute() as route, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as plain:
        asked = min(1 << 20, kernel.rmem_max())
        assert receive_buffer(route.asyncore.socket) >= 2 * asked > receive_buffer(plain)


def test_pyroute2_configures_what_this_library_does_not() -> None:
    """Addresses and routes, for a beginning."""
    with Links() as links, IPRoute() as route:
        links.make("left", "right")
        (left,), (right,) = (route.link_lookup(ifname=name) for name in ("left", "right"))
        route.addr("add", index=left, address="192.0.2.1", prefixlen=24)
        for end in (left, right):
            route.link("set", index=end, state="up")
        route.route("add", dst="198.51.100.0/24", gateway="192.0.2.2")
        assert len(list(route.get_routes(dst="198.51.100.0/24"))) == 1
    assert not {"address", "addresses", "route", "routes"} & set(nls.__all__)


def test_pyroute2_has_an_asynchronous_twin() -> None:
    """For asyncio, and the same links come of it."""

    async def names() -> set[str]:
        async with AsyncIPRoute() as route:
            return {link.get("ifname") async for link in await route.get_links()}

    assert asyncio.run(names()) == {"lo"}


@pytest.mark.parametrize("package", ["pyroute2", "pyudev", "psutil"])
def test_peers_ship_no_types(package: str) -> None:
    """A type checker takes everything of theirs for anything; of ours it knows."""
    assert not importlib.resources.files(package).joinpath("py.typed").is_file()
    assert importlib.resources.files("netlink_safe").joinpath("py.typed").is_file()


# pyudev, and libudev below it, which is systemd's monitor.


def a_monitor(source: str = "kernel") -> Any:
    """One of pyudev's, which closes with its last reference: there is no other way."""
    return pyudev.Monitor.from_netlink(pyudev.Context(), source=source)


def an_overrun_monitor() -> Any:
    """One that has room for two events, and was sent many."""
    monitor = a_monitor()
    shrink(monitor)
    monitor.start()
    storm()
    return monitor


def test_a_wait_of_pyudev_has_an_end() -> None:
    """If one says so."""
    monitor = a_monitor()
    assert monitor.poll(0.01) is None


def test_libudev_believes_whom_this_library_believes() -> None:
    """No stranger; what is injected is told, and not told apart."""
    monitor = a_monitor()
    monitor.start()
    uevents.multicast(EVENT)
    assert monitor.poll(0.1) is None
    uevents.inject(EVENT)
    told = monitor.poll(10)
    assert told is not None
    assert told.properties["INTERFACE"] == "ghost"
    assert not [name for name in told.properties if "INJECT" in name]


def test_libudev_has_a_large_buffer_and_takes_the_copied_one() -> None:
    """128 MiB where it is permitted; and 1024 bytes if one says so."""
    monitor = a_monitor()
    monitor.start()
    with socket.socket(fileno=os.dup(monitor.fileno())) as sock:
        asked = 128 << 20 if kernel.may_force_buffers() else kernel.rmem_max()
        assert receive_buffer(sock) >= asked
        with contextlib.suppress(PermissionError):  # to force it; it is as small all the same
            monitor.set_receive_buffer_size(COPIED)
        assert receive_buffer(sock) == SMALLEST


def test_pyudev_raises_for_ever_behind_an_overrun() -> None:
    """Its poll takes the error of the socket for one of the wait, and never reads."""
    monitor = an_overrun_monitor()
    for _ in range(STORM):
        with pytest.raises(OSError, match="Error while polling"):
            monitor.poll(1)


#: Prints whether the observer's thread lives behind the storm.
OVERRUN_OF_AN_OBSERVER: Final = """
import pyudev, threading
import uevents
from compared import EVENT, shrink, storm
threading.excepthook = lambda _: None
is_called, goes_on = threading.Event(), threading.Event()

def called(device):
    is_called.set()
    goes_on.wait(30)

monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
shrink(monitor)
monitor.start()
observer = pyudev.MonitorObserver(monitor, callback=called)
observer.start()
uevents.inject(EVENT)
assert is_called.wait(30)
storm()
goes_on.set()
observer.join(30)
print(observer.is_alive())
"""


def test_an_observer_of_pyudev_dies_of_an_overrun() -> None:
    """Its thread ends, and nobody is called any more."""
    assert run(OVERRUN_OF_AN_OBSERVER) == "False\n"


def test_libudev_itself_goes_on_and_does_not_say_how_much_was_lost() -> None:
    """One errno 105, then what was still queued, then silence."""
    monitor = an_overrun_monitor()
    with pytest.raises(OSError, match="No buffer space"):
        monitor._receive_device()
    told = list(iter(monitor._receive_device, None))
    assert 0 < len(told) < STORM


def test_libudev_filters_in_the_kernel() -> None:
    """What udevd tells of other subsystems does not even come to be queued."""
    monitor = a_monitor("udev")
    monitor.filter_by("net")
    monitor.start()
    length = ctypes.c_uint32(0)
    get = ctypes.CDLL(None).getsockopt
    assert get(monitor.fileno(), socket.SOL_SOCKET, SO_GET_FILTER, None, ctypes.byref(length)) == 0
    assert length.value > 0


def test_pyudev_knows_devices_and_not_only_their_events() -> None:
    """Attributes, parents, and loops of others; an event here has none of these."""
    device = pyudev.Devices.from_path(pyudev.Context(), "/sys/devices/virtual/mem/null")
    assert device.attributes.get("dev") == b"1:3"
    assert not hasattr(nls.Uevent, "attributes")
    for loop in ("glib", "pyqt5", "pyside6", "wx"):
        assert importlib.util.find_spec(f"pyudev.{loop}")


# psutil.  Its numbers are compared where the page for its users is: test_agent_pages.py.


def test_psutil_knows_whose_a_socket_is() -> None:
    """The pid and the descriptor; a row of sock_diag has an inode."""
    with socket.create_server(("127.0.0.1", 0)) as server, nls.open_sock_diag() as diag:
        (theirs,) = psutil.net_connections("tcp")
        (ours,) = diag.dump(nls.tcp_sockets())
        assert (theirs.pid, theirs.fd) == (os.getpid(), server.fileno())
        assert ours.inode == os.fstat(server.fileno()).st_ino
    assert not hasattr(ours, "pid")


def test_psutil_needs_no_netlink() -> None:
    """It opens files and no socket, so that there is no reply to be lost."""
    program = """
import json, psutil, sys
opened, sockets = [], []
def hook(event, arguments):
    if event == "open" and "/net/tcp" in str(arguments[0]):
        opened.append(arguments[0])
    elif event == "socket.__new__":
        sockets.append(arguments)
sys.addaudithook(hook)
psutil.net_connections("tcp")
print(json.dumps([opened, sockets]))
"""
    opened, sockets = json.loads(run(program))
    assert {os.path.basename(path) for path in opened} == {"tcp", "tcp6"}
    assert sockets == []


def test_psutil_is_not_for_linux_alone() -> None:
    """It has constants for the others, and this library is for no other."""
    assert {"WINDOWS", "MACOS", "FREEBSD"} <= set(dir(psutil))


# node_exporter.  Its numbers are compared in test_node_exporter.py.


def test_node_exporter_has_many_collectors_in_one_program() -> None:
    """Of which sockets are one, and off unless said."""
    program = debian_peers.node_exporter()
    ended = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    told = set(
        re.findall(r"--\[?(?:no-\]?)?collector\.([a-z_]+)\b(?!\.)", ended.stdout + ended.stderr)
    )
    assert "tcpstat" in told
    assert len(told) > 50


# The page.


def test_every_claim_has_something_behind_it() -> None:
    """Each row of a table about a peer names a test or a command, or where it stands in source."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in PAGE.read_text("utf-8").splitlines()
        if line.startswith("|") and not line.startswith("|-")
    ]
    claims = [row for row in rows if len(row) == 4 and row[-1] != "shown by"]
    assert len(claims) > 50
    for *_, shown in claims:
        assert re.search(r"`(test_\w+|python benchmarks \w+|grep [^`]+)`", shown), shown


def test_every_test_here_is_named_on_the_page() -> None:
    """But for those of the page itself."""
    text = PAGE.read_text("utf-8")
    own = {
        "test_comparison_libnl",
        "test_every_claim_has_something_behind_it",
        "test_every_test_here_is_named_on_the_page",
    }
    here = {*globals(), *vars(test_comparison_libnl)}
    for name in {each for each in here if each.startswith("test_")} - own:
        assert f"`{name}`" in text, name
