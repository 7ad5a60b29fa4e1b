"""What the doctor may not see, is not asked, and finds in large numbers."""

from __future__ import annotations

import errno
import os
import pathlib
import re
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import faulty
import kernel
import netlink_safe as nls
from examined import KINDS, here, look, only, sleeps_in
from netlink_safe.doctor import examine_blocking
from netlink_safe.transport import namespaces, processes
from surfaces import Surface, on_every_surface

if TYPE_CHECKING:
    from collections.abc import Callable


def test_everything_is_found_in_other_namespaces_too() -> None:
    """With the namespace's name, unless one asks for another one or another process."""
    with kernel.named_namespace("elsewhere"):
        with_fault = faulty.running(faulty.COPIED_BUFFER)
        pid, port_id = kernel.in_namespace("/run/netns/elsewhere", with_fault.__enter__)
        try:
            found = only(examine_blocking(0.05, pid=pid), KINDS.SMALL_RECEIVE_BUFFER)
            assert (found.netns, found.port_id) == ("elsewhere", port_id)
            assert not examine_blocking(0.05, netns=here())
            assert not examine_blocking(0.05, pid=os.getpid())
            assert examine_blocking(0.05, netns="elsewhere")[0].owner_pid == pid
        finally:
            with_fault.__exit__(None, None, None)


def test_what_is_no_namespace_and_what_is_closed_are_left_out() -> None:
    """A file that nothing is mounted on is passed over; one that may not be entered is counted."""
    pathlib.Path("/run/netns/stale").touch()

    def told() -> str:
        kernel.drop_all_rights()
        return "; ".join(examine_blocking(0.05).unseen)

    try:
        with kernel.named_namespace("closed"):
            assert not [line for line in examine_blocking(0.05).unseen if "other network" in line]
            text = kernel.in_child(told)
            assert "other network namespaces: run as root" in text
            assert "the network namespaces of " in text
            with pytest.raises(nls.LocalProtocolError, match="stale is no network namespace"):
                examine_blocking(0.05, netns="stale")
    finally:
        os.unlink("/run/netns/stale")


def _with_limit(name: str, value: int, body: Callable[[], object]) -> str:
    """The body, in a child that sees another number under /proc/sys."""

    def child() -> object:
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        if not os.path.exists(f"/proc/sys/{name}"):  # older kernels have it in the first one only
            kernel.enter(kernel.FIRST_NAMESPACE)
        pathlib.Path("/run/limit").write_text(f"{value}\n", "ascii")
        kernel.mount("/run/limit", f"/proc/sys/{name}", None, kernel.MS_BIND)
        return body()

    return kernel.in_child(child)


def test_a_limit_below_the_kernels_own_is_found() -> None:
    """With the command that mends it."""

    def told() -> str:
        found = only(examine_blocking(0.05, netns=here()), KINDS.KERNEL_LIMIT)
        return f"{found.kind} {found.severity} {found.mend}"

    for name in ("rmem_max", "rmem_default"):
        text = _with_limit(f"net/core/{name}", 4096, told)
        assert text.startswith(f"kernel_limit warning sysctl -w net.core.{name}=212992")


def test_who_may_not_look_at_others_says_so() -> None:
    """A stuck sender of another user is not called sound: what could not be seen is told."""

    def told() -> str:
        os.setgroups([])
        os.setresuid(65534, 65534, 65534)
        report = examine_blocking(0.05, netns=here())
        assert not [one for one in report if one.kind is KINDS.BLOCKED_SENDER]
        return "; ".join(report.unseen)

    with (
        faulty.running(faulty.SLEEPER) as (_, port_id),
        faulty.running(faulty.SENDER, port_id, "sendto") as (sender, _),
    ):
        kernel.until(lambda: sleeps_in(sender, "netlink_attachskb"))
        if not kernel.is_root_of_the_machine():
            pytest.skip("a user namespace with one user has no other user")
        text = kernel.in_child(told)
    # Another test may look into every namespace meanwhile, with sockets that are here for that.
    assert re.search(r"who holds ([2-9]) of \1 sockets", text)
    assert "CAP_SYS_PTRACE" in text


def test_who_has_no_right_to_trace_says_so() -> None:
    """The same user may list the descriptors of another process, and not read one of them."""

    def told() -> str:
        kernel.drop_all_rights()
        return "; ".join(examine_blocking(0.05, netns=here()).unseen)

    with faulty.running(faulty.SLEEPER):
        text = kernel.in_child(told)
    assert "who holds 1 of 1 sockets" in text
    assert "CAP_SYS_PTRACE" in text


@pytest.mark.parametrize("pid", [0, -5, True, 1.5, "1"])
def test_what_is_no_pid_is_refused(pid: Any) -> None:
    """Else nothing would be wrong with it."""
    with pytest.raises(nls.LocalProtocolError, match="is no process ID"):
        examine_blocking(0.05, pid=pid)
    with pytest.raises(ProcessLookupError, match="no process has the pid"):
        examine_blocking(0.05, pid=2**22 + 1)


def test_nonsense_is_refused() -> None:
    """Each with what to say instead."""
    with pytest.raises(nls.LocalProtocolError, match="interval=0"):
        examine_blocking(0)
    with pytest.raises(nls.LocalProtocolError, match="leaves no time"):
        examine_blocking(2.0, timeout=1.0)
    with pytest.raises(FileNotFoundError, match="no network namespace is called"):
        examine_blocking(0.05, netns="nowhere")


@on_every_surface
async def test_of_many_sockets_none_is_missing(surface: Surface) -> None:
    """A dump of the kernel's loses the row that ends each chunk; nothing is hidden by that."""
    opened = [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2) for _ in range(500)]
    try:
        for sock in opened:
            sock.bind((0, 0))
        ours = {os.fstat(sock.fileno()).st_ino for sock in opened}
        report = await look(surface)
        found = {one.row.inode: one for one in report.sockets}
        assert ours <= found.keys()
        assert not any(found[inode].is_new for inode in ours)
    finally:
        for sock in opened:
            sock.close()


@on_every_surface
@pytest.mark.parametrize("program", [faulty.DUMPS_ALL_THE_TIME, faulty.TALKS_ALL_THE_TIME])
async def test_who_reads_and_asks_all_the_time_is_sound(surface: Surface, program: str) -> None:
    """One dump after the other, and a queue that is hardly ever empty, are no findings."""
    with faulty.running(program):
        assert not await look(surface, interval=0.5)


@pytest.mark.parametrize("link", ["readlink", "stat"])
def test_a_process_that_ends_while_its_links_are_followed_is_not_one_that_may_not_be_looked_at(
    link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses both alike, and only afterwards it is not there."""
    with subprocess.Popen(["sleep", "60"]) as process:
        follow = getattr(os, link)

        def following(path: Any, **options: Any) -> Any:
            if str(process.pid) not in str(path) and not options:
                return follow(path)
            process.kill()
            process.wait()
            raise PermissionError(errno.EACCES, "as fs/proc has it")

        monkeypatch.setattr(os, "listdir", lambda _: [str(process.pid)])
        monkeypatch.setattr(os, link, following)
        if link == "readlink":
            assert processes.holders([1]).unseen == 0
        else:
            assert namespaces.namespaces().unseen == 0
