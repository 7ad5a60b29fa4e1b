"""netns=: by name, path, pid and descriptor; sockets and files are that namespace's, not ours."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

import kernel
import netlink_safe as nls
from many_sockets import count
from netlink_safe import blocking
from surfaces import Surface, on_every_surface

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A named namespace with one listener in it; yields its path."""
    with kernel.named_namespace("elsewhere") as path:
        listener = kernel.in_namespace(path, lambda: socket.create_server(("127.0.0.1", 0)))
        with listener:
            yield path


@contextlib.contextmanager
def naming(kind: str, path: str) -> Iterator[Any]:
    """The ways to say which namespace is meant."""
    if kind == "name":
        yield "elsewhere"
    elif kind == "path":
        yield path
    elif kind == "path-like":
        yield pathlib.Path(path)
    elif kind == "descriptor":
        with open(path, encoding="ascii") as file:
            yield file
    else:
        child = kernel.in_namespace(path, lambda: subprocess.Popen(["sleep", "60"]))
        try:
            yield child.pid
        finally:
            child.kill()
            child.wait()


@pytest.mark.parametrize("kind", ["name", "path", "path-like", "descriptor", "pid"])
@on_every_surface
async def test_a_namespace_is_named_in_five_ways(
    surface: Surface, kind: str, elsewhere: str
) -> None:
    """Each finds the listener that is there and nowhere else."""
    with naming(kind, elsewhere) as netns:
        async with surface.open_sock_diag(netns=netns) as diag:
            assert await count(diag) == 1
    async with surface.open_sock_diag() as diag:
        assert await count(diag) == 0


@on_every_surface
async def test_the_namespace_is_held_when_its_name_goes(surface: Surface) -> None:
    """New kernel sockets are still opened in it after ip netns del."""
    with kernel.named_namespace("passing") as path:
        listener = kernel.in_namespace(path, lambda: socket.create_server(("127.0.0.1", 0)))
        diag = await surface.open_sock_diag(netns="passing").__aenter__()
    with listener:
        diag._pool._idle.pop().close()
        assert await count(diag) == 1
        await diag.aclose()


@on_every_surface
@pytest.mark.parametrize("method", ["dump", "counters"])
async def test_the_collector_reads_files_of_the_same_namespace(
    surface: Surface, method: str, elsewhere: str
) -> None:
    """/proc/net is the main thread's: established and time_wait would be those of the caller."""
    with contextlib.ExitStack() as held:
        for _ in range(5):
            _connect(held)
        here = await surface.collect(method=method)
        there = await surface.collect(method=method, netns=elsewhere)
    assert here.states[nls.TcpState.ESTABLISHED] == 10
    assert there.states[nls.TcpState.ESTABLISHED] == 0
    assert there.states[nls.TcpState.LISTEN] == 1
    assert (here.netns, there.netns) == (None, elsewhere)


@on_every_surface
async def test_the_callers_own_namespace_is_its_threads_own(
    surface: Surface, elsewhere: str
) -> None:
    """A thread that has entered a namespace means that one, also where a worker makes the call."""

    def inside() -> int:
        with blocking.open_sock_diag() as diag:
            diag._pool._idle.pop().close()
            rare = blocking.tcp_sockets(states=["listen", "close_wait"])
            return len(list(diag.dump(rare)))

    async with surface.open_sock_diag() as diag:
        assert await count(diag) == 0
    assert kernel.in_namespace(elsewhere, inside) == 1


def test_a_caller_in_the_namespace_already_needs_no_right_to_enter_it(elsewhere: str) -> None:
    """Naming one's own namespace is no request to change it."""

    def unprivileged() -> int:
        kernel.drop_all_rights()
        with blocking.open_sock_diag(netns="/proc/thread-self/ns/net") as diag:
            return len(list(diag.dump(blocking.tcp_sockets())))

    assert kernel.in_child(unprivileged) == "0"


def test_no_thread_of_the_caller_is_left_in_another_namespace(elsewhere: str) -> None:
    """Whoever asks stays where it is."""
    before = os.stat("/proc/thread-self/ns/net").st_ino
    with blocking.open_sock_diag(netns=elsewhere) as diag:
        assert len(list(diag.dump(blocking.tcp_sockets()))) == 1
    assert os.stat("/proc/thread-self/ns/net").st_ino == before
    strays = [t.name for t in threading.enumerate() if t.name == "netlink_safe netns"]
    assert strays == []


def test_without_the_right_to_enter_it_the_error_says_which() -> None:
    """CAP_SYS_ADMIN is named, and what to do about it."""
    with kernel.named_namespace("closed") as path:

        def unprivileged() -> None:
            kernel.drop_all_rights()
            blocking.open_sock_diag(netns=path)

        said = kernel.in_child(unprivileged)
    assert said.startswith("PermissionError")
    assert "CAP_SYS_ADMIN" in said


@pytest.mark.parametrize(
    ("netns", "error", "said"),
    [
        ("nowhere", FileNotFoundError, "no network namespace is called 'nowhere'"),
        ("/nowhere/at/all", FileNotFoundError, "no such file"),
        ("/dev/null/x", FileNotFoundError, "no such file"),
        (2**22 + 1, FileNotFoundError, "no process has the pid"),
        (-1, FileNotFoundError, "no process has the pid -1"),
        ("/dev/null", nls.LocalProtocolError, "/dev/null is no network namespace"),
        ("/proc/self/ns/uts", nls.LocalProtocolError, "is no network namespace"),
        ("", nls.LocalProtocolError, "names no network namespace"),
        (True, nls.LocalProtocolError, "names no network namespace"),
        (3.5, nls.LocalProtocolError, "neither a name, a path, a pid nor"),
    ],
)
@on_every_surface
async def test_what_is_no_namespace_is_a_clear_error_and_leaves_nothing(
    surface: Surface, netns: Any, error: type[Exception], said: str
) -> None:
    """Each says what was wrong with it."""
    with pytest.raises(error, match=said):
        async with surface.open_sock_diag(netns=netns):
            raise AssertionError("it was opened")


def test_a_fifo_given_for_a_namespace_is_not_waited_for(tmp_path: pathlib.Path) -> None:
    """Opening one would block until somebody writes."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(nls.LocalProtocolError, match="is no network namespace"):
        blocking.open_sock_diag(netns=fifo)


def _connect(held: contextlib.ExitStack) -> None:
    listener = held.enter_context(socket.create_server(("127.0.0.1", 0)))
    held.enter_context(socket.create_connection(listener.getsockname()))
    held.enter_context(listener.accept()[0])
