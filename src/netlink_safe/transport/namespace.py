"""Network namespaces: which one is meant, and doing something inside it.

A thread of its own enters the namespace and ends there, so that no thread of the caller is ever
left in the wrong one.  A socket stays for life in the namespace it was made in.

May call ``transport.forks`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar, runtime_checkable

from netlink_safe.errors import ClosedError, LocalProtocolError
from netlink_safe.transport.forks import check_not_forked, forks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

NAMED: Final = "/run/netns"
THREAD: Final = "/proc/thread-self"
CLONE_NEWNET: Final = 0x40000000


@runtime_checkable
class HasFileno(Protocol):
    """Anything with a descriptor."""

    def fileno(self) -> int:
        """The descriptor."""


#: A name, a path (with a slash, or path-like), a pid, an object with a descriptor, or ours (None).
NetworkNamespace: TypeAlias = str | os.PathLike[str] | int | HasFileno | None


class Namespace:
    """A network namespace held open by a descriptor: the one named, or the calling thread's own.

    ``netns`` is a name in /run/netns, a path with a slash in it or path-like, a pid, an object with
    ``fileno()``, or None; ``label`` is the same as a text, None for one's own.
    Held from the first use on, so that its name may go away and its pid become another's; one's
    own, an object's, and another Namespace's, from the start.
    Raises LocalProtocolError at once for what can be none; when first used, FileNotFoundError where
    there is none and PermissionError without the right to open it.
    """

    def __init__(self, netns: NetworkNamespace | Namespace) -> None:
        self._closed = False
        self._descriptor: int | None = None
        self._lock = threading.RLock()  # a signal handler may close what its thread is opening
        self._forks = forks()
        self._netns = _checked(netns)
        is_held = isinstance(netns, Namespace) and netns._descriptor is not None
        if netns is None or is_held or isinstance(netns, HasFileno):
            self._descriptor = _open(netns)  # now: it is the calling thread's, or may be closed
        self.label: str | None = label(netns)

    def run(self, function: Callable[[], T]) -> T:
        """Call the function inside the namespace, and hand back what it returns or raises.

        A thread that is already there makes the call itself.
        Raises as the class says; PermissionError without CAP_SYS_ADMIN, here and in the user
        namespace that owns it (``net/core/net_namespace.c``: netns_install), LocalProtocolError for
        a file that is no network namespace, ClosedError, RuntimeError where there is no thread.
        """
        if self._is_here():
            return function()
        outcome: list[T] = []
        failure: list[BaseException] = []

        def inside() -> None:
            try:
                self._enter()
                outcome.append(function())
            except BaseException as error:  # whatever it is, it is raised again in the caller
                failure.append(error)

        thread = threading.Thread(target=inside, name="netlink_safe netns", daemon=True)
        thread.start()
        thread.join()
        if failure:
            raise failure.pop()  # else the error and the frames of its traceback hold each other
        return outcome[0]

    def read(self, names: Iterable[str]) -> list[str]:
        """Files of /proc/net as this namespace has them, such as ``snmp``; empty if not there.

        Raises as ``run`` does, LocalProtocolError for what can be no such name, OSError for what
        is no file, ValueError for what is no ASCII.
        /proc/net and /proc/self/net are the main thread's; only thread-self follows a thread that
        has entered another namespace.
        """

        wanted = [_checked_file(name) for name in names]

        def read_files() -> list[str]:
            texts = []
            for name in wanted:
                try:
                    with open(f"{THREAD}/net/{name}", encoding="ascii") as file:
                        texts.append(file.read())
                except FileNotFoundError:  # such as sockstat6 where there is no IPv6
                    texts.append("")
            return texts

        return self.run(read_files)

    def duplicate(self) -> int | None:
        """A descriptor of its own for somebody else; None where there is no /proc to have one of.

        Raises as the class says; ClosedError.
        """
        if not self._hold():
            return None
        with self._lock:
            if (descriptor := self._descriptor) is None:
                raise ClosedError("this socket is closed; open a new one")
            return os.dup(descriptor)

    def close(self) -> None:
        """Give the descriptor back; harmless when done twice."""
        with self._lock if self._forks == forks() else contextlib.nullcontext():
            self._closed = True
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        if hasattr(self, "_netns"):
            self.close()

    def _hold(self) -> bool:
        """Open it if it is not yet; False without /proc, where none can be opened."""
        check_not_forked(self._forks)
        if self._closed:
            raise ClosedError("this socket is closed; open a new one")
        if self._descriptor is None:
            opened = _open(self._netns)  # without the lock: it may take long, and close() may not
            if opened is None:
                return False
            with self._lock:
                if self._closed or self._descriptor is not None:
                    os.close(opened)
                else:
                    self._descriptor = opened
        return True

    def _is_here(self) -> bool:
        if not self._hold():
            return True  # without /proc no namespace can be told from another, or entered
        with self._lock:
            if self._descriptor is None:
                raise ClosedError("this socket is closed; open a new one")
            there = os.fstat(self._descriptor)
        here = os.stat(f"{THREAD}/ns/net")
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    def _enter(self) -> None:
        try:
            with self._lock:  # close() must not have the number used for another file meanwhile
                if self._descriptor is None:
                    raise ClosedError("this socket is closed; open a new one")
                _setns(self._descriptor)
        except OSError as error:
            if error.errno == errno.EPERM:
                raise PermissionError(
                    errno.EPERM,
                    "entering another network namespace takes CAP_SYS_ADMIN, here and in the user "
                    "namespace that owns it; run as root, or inside it",
                    self.label,
                ) from error
            if error.errno == errno.EINVAL:
                raise LocalProtocolError(f"{self.label} is no network namespace") from error
            raise


def label(netns: NetworkNamespace | Namespace) -> str | None:
    """The argument as text, or None for the caller's own namespace."""
    if isinstance(netns, Namespace):
        return netns.label
    if netns is None or isinstance(netns, str):
        return netns
    if isinstance(netns, os.PathLike):
        return os.fspath(netns)
    return f"descriptor {netns.fileno()}" if isinstance(netns, HasFileno) else str(netns)


def _checked(netns: NetworkNamespace | Namespace) -> NetworkNamespace | Namespace:
    path = os.fspath(netns) if isinstance(netns, str | os.PathLike) else None
    is_no_name = path is not None and not (path.strip() and is_file_name(path))
    if isinstance(netns, bool) or is_no_name:
        raise LocalProtocolError(f"netns={netns!r} names no network namespace")
    if netns is None or isinstance(netns, str | os.PathLike | int | HasFileno | Namespace):
        return netns
    raise LocalProtocolError(
        f"netns={netns!r} is neither a name, a path, a pid nor an object with fileno()"
    )


def is_file_name(text: str) -> bool:
    """Whether the kernel can be given it: it has no NUL, and no surrogate that stands for none."""
    try:
        return isinstance(text, str) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _checked_file(name: str) -> str:
    if isinstance(name, str) and is_file_name(name) and {"", ".", ".."}.isdisjoint(name.split("/")):
        return name
    raise LocalProtocolError(f"{name!r} is no file below /proc/net; 'snmp' is one")


def _open(netns: NetworkNamespace | Namespace) -> int | None:
    if isinstance(netns, Namespace):
        return netns.duplicate()
    if netns is None:
        with contextlib.suppress(FileNotFoundError):
            return os.open(f"{THREAD}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        return None
    if isinstance(netns, int):
        return _open_path(f"/proc/{netns}/ns/net", f"no process has the pid {netns}")
    if isinstance(netns, str) and "/" not in netns:
        return _open_path(
            f"{NAMED}/{netns}", f"no network namespace is called {netns!r}; see ip netns list"
        )
    if isinstance(netns, str | os.PathLike):
        return _open_path(os.fspath(netns), "no such file; a network namespace's path is expected")
    try:
        descriptor = netns.fileno()
    except ValueError:
        descriptor = -1  # as a socket says that is closed; a file of Python's raises instead
    if descriptor < 0:
        raise LocalProtocolError(f"netns={netns!r} is closed; give one that is open")
    return os.dup(descriptor)


def _open_path(path: str, missing: str) -> int:
    try:
        # Without O_NONBLOCK a FIFO given by mistake would be waited for, for ever.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(errno.ENOENT, missing, path) from error
    except PermissionError as error:
        raise PermissionError(
            errno.EACCES, "no permission to open this network namespace; run as its owner", path
        ) from error


if sys.version_info >= (3, 12):

    def _setns(descriptor: int) -> None:
        os.setns(descriptor, CLONE_NEWNET)

else:

    def _setns(descriptor: int) -> None:
        import ctypes

        if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
