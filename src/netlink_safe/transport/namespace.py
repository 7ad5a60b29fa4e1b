"""Network namespaces: which one is meant, and doing something inside it.

A thread of its own enters the namespace and ends there, so that no thread of the caller is ever
left in the wrong one.  A socket stays for life in the namespace it was made in.

May call ``errors``.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar, runtime_checkable

from netlink_safe.errors import ClosedError, LocalProtocolError

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
NetworkNamespace: TypeAlias = "str | os.PathLike[str] | int | HasFileno | None"


class Namespace:
    """A network namespace held open by a descriptor: the one named, or the calling thread's own.

    Held, so that its name may go away and another process may get its pid meanwhile.
    Raises FileNotFoundError when there is none, PermissionError without the right to open it,
    LocalProtocolError for what can be none.
    """

    def __init__(self, netns: NetworkNamespace) -> None:
        self.label = label(netns)
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._identity: tuple[int, int] | None = None
        if netns is None and not os.path.exists(f"{THREAD}/ns/net"):
            return  # no /proc: there is no way to tell namespaces apart, or to enter one
        self._descriptor = _open(netns)
        self._identity = _identity(os.fstat(self._descriptor))

    def run(self, function: Callable[[], T]) -> T:
        """Call the function inside the namespace, and hand back what it returns or raises.

        A thread that is already there makes the call itself.
        """
        if self._identity is None or self._identity == _identity(os.stat(f"{THREAD}/ns/net")):
            return function()
        outcome: list[T] = []
        failure: list[BaseException] = []

        def inside() -> None:
            try:
                self._enter()
                outcome.append(function())
            except BaseException as error:
                failure.append(error)  # it is raised again in the caller

        thread = threading.Thread(target=inside, name="netlink_safe netns", daemon=True)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return outcome[0]

    def read(self, names: Iterable[str]) -> list[str]:
        """Files of /proc/net as this namespace has them, such as ``snmp``, one after the other.

        /proc/net and /proc/self/net are the main thread's; only thread-self follows a thread that
        has entered another namespace.
        """

        def read_files() -> list[str]:
            texts = []
            for name in names:
                with open(f"{THREAD}/net/{name}", encoding="ascii") as file:
                    texts.append(file.read())
            return texts

        return self.run(read_files)

    def close(self) -> None:
        """Give the descriptor back; harmless when done twice."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

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


def label(netns: NetworkNamespace) -> str | None:
    """The argument as text, or None for the caller's own namespace."""
    if netns is None or isinstance(netns, str):
        return netns
    if isinstance(netns, os.PathLike):
        return os.fspath(netns)
    return f"descriptor {netns.fileno()}" if isinstance(netns, HasFileno) else str(netns)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _open(netns: NetworkNamespace) -> int:
    if netns is None:
        return os.open(f"{THREAD}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if isinstance(netns, bool) or (isinstance(netns, str) and not netns.strip()):
        raise LocalProtocolError(f"netns={netns!r} names no network namespace")
    if isinstance(netns, int):
        return _open_path(f"/proc/{netns}/ns/net", f"no process has the pid {netns}")
    if isinstance(netns, str) and "/" not in netns:
        return _open_path(
            f"{NAMED}/{netns}", f"no network namespace is called {netns!r}; see ip netns list"
        )
    if isinstance(netns, str | os.PathLike):
        return _open_path(os.fspath(netns), "no such file; a network namespace's path is expected")
    if isinstance(netns, HasFileno):
        return os.dup(netns.fileno())
    raise LocalProtocolError(
        f"netns={netns!r} is neither a name, a path, a pid nor an object with fileno()"
    )


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
