"""Names in a request, turned into the numbers that the kernel has for them, where it is asked.

May call ``transport.cgroups``, ``transport.namespace``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from typing import TYPE_CHECKING, Any, Final

import attrs

from netlink_safe.errors import LocalProtocolError
from netlink_safe.transport.cgroups import mounted_at

if TYPE_CHECKING:
    from netlink_safe.protocol.request import LookupKind, Request
    from netlink_safe.transport.namespace import Namespace

_FORMS: Final[dict[LookupKind, struct.Struct]] = {
    "interface": struct.Struct("=I"),
    "cgroup": struct.Struct("=Q"),
}


def filled_in(request: Request[Any], namespace: Namespace) -> Request[Any]:
    """The request with every number in its place.

    Raises LocalProtocolError for a name that nothing has; OSError.
    """
    payload = bytearray(request.payload)
    for lookup in request.lookups:
        if lookup.kind == "interface":
            number = _interface(lookup.name, namespace)
        else:
            number = _cgroup(lookup.name)
        _FORMS[lookup.kind].pack_into(payload, lookup.offset, number)
    return attrs.evolve(request, payload=bytes(payload), lookups=())


def _interface(name: str, namespace: Namespace) -> int:
    def look() -> tuple[int, list[str]]:
        try:
            return socket.if_nametoindex(name), []
        except OSError:
            return 0, [known for _, known in socket.if_nameindex()]

    number, known = namespace.run(look)
    if number:
        return number
    where = "" if namespace.label is None else f" in the network namespace {namespace.label}"
    raise LocalProtocolError(
        f"there is no interface {name!r}{where}; there are {', '.join(sorted(known))}"
    )


def _cgroup(path: str) -> int:
    """A path below the mount of cgroup v2, as /proc/PID/cgroup has it, or in the file system.

    Any other directory has a number, too, that may be some cgroup's.
    """
    root = mounted_at()
    if root is None:
        raise LocalProtocolError(f"there is no cgroup {path!r}: cgroup v2 is not mounted here")
    device = os.stat(root).st_dev
    for each in (root.rstrip("/") + path, path):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = os.stat(each)
            if found.st_dev == device and stat.S_ISDIR(found.st_mode):
                return found.st_ino
    raise LocalProtocolError(
        f"there is no cgroup {path!r}, neither below the mount of cgroup v2 at {root} nor in the "
        "file system"
    )
