"""A look at the devices that a network namespace has, through sysfs.

A sysfs mount shows the network namespace of whoever mounted it (``fs/sysfs/mount.c``:
sysfs_init_fs_context), so that /sys is often another namespace's.  Whoever may mounts one of their
own, beside the mount table, in a thread that is in the namespace; /sys is taken where it shows the
interfaces that the namespace has.

May call ``transport`` and ``protocol``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from netlink_safe.protocol.sighting import Look, Sighting
from netlink_safe.transport.terms import NoLookError
from netlink_safe.transport.udev_database import processed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SYS: Final = "/sys"
SEQNUM: Final = "kernel/uevent_seqnum"
OWN: Final = "/proc/thread-self/ns/net"
FIRST: Final = "/proc/1/ns/net"
CAP_SYS_ADMIN: Final = 1 << 21
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READING: Final = os.O_RDONLY | os.O_CLOEXEC
_PAGE: Final = 4096 * 4
#: What is said of something that is gone, or never was a directory; ENODEV is sysfs's own.
GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENODEV})
#: What is wrong with us, and not with the device.
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class NoSysfsError(NoLookError):
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
    _Place("bus/*/devices", is_device=True),
    _Place("class/*", is_device=True),
    _Place("class/net/*/queues", "queues"),
    _Place("bus/*/drivers", "drivers"),
    _Place("bus", "bus"),
    _Place("class", "class"),
    _Place("module", "module"),
)


def look(
    subsystems: frozenset[str] | None,
    known: Mapping[bytes, bytes],
    mount: bool,
    by_udev: bool = False,
) -> Look:
    """What is there now of these subsystems, None for all; in a thread that is in the namespace.

    ``known`` are paths and subsystems; where no place lists a subsystem, its paths are looked up.
    ``mount`` asks for a sysfs of its own first, since /sys may be another namespace's.
    ``by_udev`` leaves out what udevd has not processed yet, and adds what it has noted.
    Raises NoSysfsError where there is none to look at, OSError.
    """
    root = _open_sysfs(mount)
    finished = partial(processed, is_foreign=mount) if by_udev else _as_it_is
    try:
        seqnum = int(_read(SEQNUM, root))
        above = len(_path_of(root).rstrip(b"/"))
        sightings: dict[bytes, Sighting] = {}
        listed: set[bytes] = set()
        covered: set[bytes] = set()
        for place in PLACES:
            for subsystem, directory in _directories(place, subsystems, root):
                with _while_it_is_there():
                    names = _names(directory, root)
                    listed.add(os.fsencode(subsystem))
                    if place.is_device:
                        covered.add(os.fsencode(subsystem))
                    for name in names:
                        with _while_it_is_there():
                            path, sighting = _sighting(directory, name, subsystem, place, root)
                            if (whole := finished(path[above:], sighting)) is not None:
                                sightings.setdefault(path[above:], whole)
        if subsystems is not None:
            wanted = {os.fsencode(name) for name in subsystems}
            sightings = {p: seen for p, seen in sightings.items() if seen.subsystem in wanted}
        for path, where in known.items():
            if where not in listed:
                with _while_it_is_there():
                    inode = os.stat(path[1:], dir_fd=root).st_ino
                    sightings[path] = Sighting(None, b"", inode, False)
        return Look(sightings, seqnum, frozenset(covered))
    finally:
        os.close(root)


@contextlib.contextmanager
def _while_it_is_there(*also: int) -> Iterator[None]:
    """Pass over what is no device, or is gone; every other failure is one of the look."""
    try:
        yield
    except OSError as error:
        if error.errno not in {*GONE, *also}:
            raise


@contextlib.contextmanager
def _while_there_is_room() -> Iterator[None]:
    """Pass over what this process may not do; not that it has no descriptor or memory for it."""
    try:
        yield
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise


def _as_it_is(_path: bytes, sighting: Sighting) -> Sighting:
    return sighting


def _directories(
    place: _Place, subsystems: frozenset[str] | None, root: int
) -> Iterator[tuple[str, str]]:
    """The subsystems of a place that are wanted, and where it lists their objects."""
    before, star, after = place.listing.partition("*")
    if place.subsystem is None:
        # A name with a slash in it would lead elsewhere, and is no subsystem's.
        wanted = None if subsystems is None else {name for name in subsystems if "/" not in name}
        for name in _names(before, root) if wanted is None else sorted(wanted - {".", ".."}):
            yield name, f"{before}{name}{after}"
    elif subsystems is None or place.subsystem in subsystems:
        for name in _names(before, root) if star else [""]:
            yield place.subsystem, f"{before}{name}{after}"


def _names(directory: str, root: int) -> list[str]:
    """What a directory lists."""
    descriptor = os.open(directory, _READING | os.O_DIRECTORY, dir_fd=root)
    try:
        return os.listdir(descriptor)
    finally:
        os.close(descriptor)


def _sighting(
    where: str, name: str, subsystem: str, place: _Place, root: int
) -> tuple[bytes, Sighting]:
    """One object and its path, above the root too; OSError where it is none, or is gone.

    Its directory is opened once, so that path, inode and properties are of one and the same.
    """
    directory = os.open(f"{where}/{name}", _DIRECTORY, dir_fd=root)
    try:
        text = _properties(directory) if place.is_device else b""
        path = _path_of(directory)
        if path.endswith(b" (deleted)"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        inode = os.fstat(directory).st_ino
        own = _subsystem_of(directory) if place.is_device else None
        return path, Sighting(own or os.fsencode(subsystem), text, inode, place.is_device)
    finally:
        os.close(directory)


def _properties(directory: int) -> bytes:
    """The text of a device's uevent file; empty where its driver cannot say now.

    The file is made when it is read, by the subsystem, whose errors it hands through: a fuel gauge
    that does not answer is EIO (``drivers/base/core.c``: uevent_show).
    """
    try:
        return _read("uevent", directory)
    except OSError as error:
        if error.errno in GONE | EXHAUSTED:
            raise
        return b""


def _subsystem_of(directory: int) -> bytes | None:
    """What a device's events call its subsystem: some classes list the devices of a bus."""
    with _while_it_is_there():
        return os.path.basename(os.readlink(b"subsystem", dir_fd=directory))
    return None


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
    if not mount and _is_first_namespace() and os.access(f"{SYS}/{SEQNUM}", os.R_OK):
        return os.open(SYS, _DIRECTORY)
    reason = "takes CAP_SYS_ADMIN"
    if _may_mount():
        from netlink_safe.transport.mounting import mounted_sysfs

        with _while_there_is_room():
            try:
                return mounted_sysfs()
            except OSError as error:
                reason = f"failed ({error.strerror})"
                raise
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
    with _while_there_is_room(), open("/proc/thread-self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) & CAP_SYS_ADMIN)
    return False


def _matching_sysfs() -> int | None:
    """The root of /sys, if it shows the interfaces that the calling thread's namespace has."""
    root = None
    with _while_there_is_room():
        root = os.open(SYS, _DIRECTORY)
    if root is None:
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
        with _while_it_is_there():
            for name in _names("class/net", root):
                # EINVAL is said of one that is being unregistered (net/core/net-sysfs.c).
                with _while_it_is_there(errno.EINVAL):
                    shown[name] = int(_read(f"class/net/{name}/ifindex", root))
        if shown == {name: index for index, name in socket.if_nameindex()}:
            return True
    return False
