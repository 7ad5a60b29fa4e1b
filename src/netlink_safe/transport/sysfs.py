"""A look at the devices that a network namespace has, through sysfs.

A sysfs mount shows the network namespace of whoever mounted it (``fs/sysfs/mount.c``:
sysfs_init_fs_context), so that /sys is often another namespace's.  Whoever may mounts one of their
own, beside the mount table, in a thread that is in the namespace; /sys is taken where it shows the
interfaces that the namespace has.

May call ``transport.mounting``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

import attrs

from netlink_safe.protocol.sighting import Look, Sighting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SYS: Final = "/sys"
OWN: Final = "/proc/thread-self/ns/net"
FIRST: Final = "/proc/1/ns/net"
CAP_SYS_ADMIN: Final = 1 << 21
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READING: Final = os.O_RDONLY | os.O_CLOEXEC
_PAGE: Final = 4096 * 4


class NoSysfsError(Exception):
    """There is no sysfs of this namespace to look at; the text says why."""


@attrs.frozen(slots=True)
class _Place:
    """Where sysfs lists objects: the directories that hold them, by their subsystems.

    ``listing`` is a path with ``*`` for what is listed on the way; the subsystem is ``subsystem``,
    or the name that stands at the first ``*``.
    """

    listing: str
    subsystem: str | None = None
    is_device: bool = False


#: Every device that may send events has a class or a bus (``drivers/base/core.c``:
#: dev_uevent_filter); the others are no devices, and the kernel sends events of them all the same.
PLACES: Final = (
    _Place("class/*", is_device=True),
    _Place("bus/*/devices", is_device=True),
    _Place("class/net/*/queues", "queues"),
    _Place("bus/*/drivers", "drivers"),
    _Place("bus", "bus"),
    _Place("class", "class"),
    _Place("module", "module"),
)


def look(subsystems: frozenset[str] | None, known: Iterable[bytes], mount: bool) -> Look:
    """What is there now of these subsystems, None for all; in a thread that is in the namespace.

    ``known`` are paths that are looked up even where no place lists them.
    ``mount`` asks for a sysfs of its own first, since /sys may be another namespace's.
    Raises NoSysfsError where there is none to look at, OSError.
    """
    root = _open_sysfs(mount)
    try:
        seqnum = int(_read("kernel/uevent_seqnum", root))
        sightings: dict[bytes, Sighting] = {}
        covered = set()
        for place in PLACES:
            for subsystem, directory in _directories(place, subsystems, root):
                covered.add(os.fsencode(subsystem))
                for name in _names(directory, root):
                    found = _sighting(f"{directory}/{name}", subsystem, place.is_device, root)
                    if found is not None:
                        sightings.setdefault(*found)
        for path in known:
            if path not in sightings:
                with contextlib.suppress(OSError):
                    inode = os.stat(path[1:], dir_fd=root).st_ino
                    sightings[path] = Sighting(None, b"", inode, False)
        return Look(sightings, seqnum, frozenset(covered))
    finally:
        os.close(root)


def _directories(
    place: _Place, subsystems: frozenset[str] | None, root: int
) -> Iterator[tuple[str, str]]:
    """The subsystems of a place that are wanted, and where it lists their objects."""
    before, star, after = place.listing.partition("*")
    if place.subsystem is None:
        for name in _names(before, root) if subsystems is None else sorted(subsystems):
            yield name, f"{before}{name}{after}"
    elif subsystems is None or place.subsystem in subsystems:
        for name in _names(before, root) if star else [""]:
            yield place.subsystem, f"{before}{name}{after}"


def _names(directory: str, root: int) -> list[str]:
    """What a directory lists; nothing where it is none, or is gone."""
    try:
        descriptor = os.open(directory, _READING | os.O_DIRECTORY, dir_fd=root)
    except OSError:
        return []
    try:
        return os.listdir(descriptor)
    finally:
        os.close(descriptor)


def _sighting(
    path: str, subsystem: str, is_device: bool, root: int
) -> tuple[bytes, Sighting] | None:
    """One object and its path; None for what is none, or is gone.

    Its directory is opened once, so that path, inode and properties are of one and the same.
    """
    try:
        directory = os.open(path, _DIRECTORY, dir_fd=root)
    except OSError:
        return None
    try:
        text = _read("uevent", directory) if is_device else b""
        devpath = _path_of(directory).removeprefix(_path_of(root).rstrip(b"/"))
        inode = os.fstat(directory).st_ino
    except OSError:
        return None
    finally:
        os.close(directory)
    if devpath.endswith(b" (deleted)"):
        return None
    return devpath, Sighting(os.fsencode(subsystem), text, inode, is_device)


def _path_of(descriptor: int) -> bytes:
    return os.readlink(b"/proc/thread-self/fd/%d" % descriptor)


def _read(path: str, directory: int) -> bytes:
    descriptor = os.open(path, _READING, dir_fd=directory)
    try:
        return os.read(descriptor, _PAGE)
    finally:
        os.close(descriptor)


def _open_sysfs(mount: bool) -> int:
    """A directory that is the root of the right sysfs."""
    if not mount and _is_first_namespace() and (root := _matching_sysfs()) is not None:
        return root
    reason = "takes CAP_SYS_ADMIN"
    if _may_mount():
        from netlink_safe.transport.mounting import mounted_sysfs

        try:
            return mounted_sysfs()
        except OSError as error:
            reason = f"failed ({error.strerror})"
    if (root := _matching_sysfs()) is not None:
        return root
    raise NoSysfsError(
        f"{SYS} does not show this network namespace, and to mount a sysfs that does {reason}; "
        "run as root, or with one mounted, as ip netns exec does"
    )


def _is_first_namespace() -> bool:
    """Whether this is the network namespace of the first process, who mounted /sys."""
    try:
        own, first = os.stat(OWN), os.stat(FIRST)
    except OSError:
        return False  # or it is not to be known
    return (own.st_dev, own.st_ino) == (first.st_dev, first.st_ino)


def _may_mount() -> bool:
    """Whether the calling thread has CAP_SYS_ADMIN; to try without it would cost an import."""
    with contextlib.suppress(OSError), open("/proc/thread-self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) & CAP_SYS_ADMIN)
    return False


def _matching_sysfs() -> int | None:
    """The root of /sys, if it shows the interfaces that the calling thread's namespace has."""
    try:
        root = os.open(SYS, _DIRECTORY)
    except OSError:
        return None
    try:
        if _shows_these_interfaces(root):
            return root
    except BaseException:  # whatever it is, the descriptor must not outlive it
        os.close(root)
        raise
    os.close(root)
    return None


def _shows_these_interfaces(root: int) -> bool:
    """Whether sysfs has the interfaces of the calling thread's namespace, by name and index."""
    for _ in range(3):  # one may come or go between the two looks
        shown = {}
        for name in _names("class/net", root):
            with contextlib.suppress(OSError, ValueError):
                shown[name] = int(_read(f"class/net/{name}/ifindex", root))
        if shown == {name: index for index, name in socket.if_nameindex()}:
            return bool(_names("kernel", root))
    return False
