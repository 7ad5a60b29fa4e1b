"""Who can send what to whom: each row of the page on trust, made on the running kernel."""

from __future__ import annotations

import pathlib
from typing import Final

import pytest

import senders
import uevents
from scenes import (
    Row,
    as_its_parent,
    destroyed,
    filled,
    flood,
    joining,
    kernel_notification,
    message,
    notification,
    reply,
    to_its_group,
    too_long,
    unicast,
)
from scenes_of_devices import (
    EVENT,
    FROM_UDEV,
    asked_for,
    connected,
    heard_from_below,
    hearing,
    in_container,
    inject,
    inject_as_its_parent,
    inject_as_nobody,
    inject_as_root_of_anything,
    kernel_event,
    make_links,
    mounted_over,
    named,
    noted,
    proc_net,
    to_group,
    to_port,
    udev_as_root_of_anything,
)
from surfaces import Surface, on_every_surface

PAGE: Final = pathlib.Path(__file__).parent.parent / "docs" / "explanation" / "trust.md"

ASKING: Final = "SOCK_DIAG, ROUTE, GENERIC: requests"
DEVICES: Final = "KOBJECT_UEVENT: group 1"
UDEV: Final = "KOBJECT_UEVENT: group 2"
FAMILIES: Final = "GENERIC: groups"
CLOSING: Final = "SOCK_DIAG: groups"
USER: Final = "USERSOCK"
FILES: Final = "files"

PROCESS: Final = "a process"
KERNEL: Final = "the kernel"
INJECTED: Final = "an event for the kernel to broadcast"
MALFORMED: Final = EVENT.replace(b"ACTION=add", b"ACTION=remove")

ROWS: Final = (
    Row(ASKING, KERNEL, senders.NOBODY, "its reply", "unicasts from port 0", "believed", reply),
    Row(
        ASKING, PROCESS, senders.ALL_BUT_NET_ADMIN, "a reply with every number right",
        "`EPERM` (netlink_sendmsg, netlink_allowed)", "hears nothing", reply,
    ),
    Row(
        ASKING, PROCESS, senders.OTHER_USERS, "the same",
        "`EPERM`: the capability must be over the network namespace", "hears nothing", reply,
    ),
    Row(
        ASKING, PROCESS, senders.OTHER_NETWORK, "the same",
        "`ECONNREFUSED` (netlink_lookup)", "hears nothing", reply,
    ),
    Row(
        ASKING, PROCESS, senders.NET_ADMIN, "the same",
        "unicasts from the sender's port", "rejected: `foreign_sender`", reply,
    ),
    Row(
        ASKING, PROCESS, senders.NET_ADMIN, "so much that the reply has no room",
        "loses its reply, or answers ENOBUFS (netlink_dump)",
        "rejected: `foreign_sender`; asks again on a fresh socket", flood,
    ),
    Row(
        DEVICES, KERNEL, senders.NOBODY, "an event of a device",
        "multicasts from port 0, pid 0, as root of the owner", "told as `KERNEL`", kernel_event,
    ),
    Row(
        DEVICES, PROCESS, senders.NOTHING, "an action, to a device's uevent file",
        "multicasts as above, with SYNTH_UUID (kobject_synth_uevent)",
        "told as `KERNEL`, and no picture is changed", asked_for,
    ),
    Row(
        DEVICES, PROCESS, senders.USER, "the same", "`EACCES`: the file is root's",
        "hears nothing", asked_for,
    ),
    Row(
        DEVICES, PROCESS, senders.SYS_ADMIN, INJECTED,
        "multicasts from port 0 with the sender's pid and uid (uevent_net_rcv_skb)",
        "told as `INJECTED`, and no picture is changed", hearing(inject),
    ),
    Row(
        DEVICES, PROCESS, senders.OTHER_PIDS, INJECTED, "as above: the pid is the sender's own",
        "told as `INJECTED`", hearing(inject),
    ),
    Row(
        DEVICES, PROCESS, senders.SYS_ADMIN, f"{INJECTED}, to a listener with `strict=True`",
        "as above", "rejected: `injected`", hearing(inject, strict=True),
    ),
    Row(
        DEVICES, PROCESS, senders.SYS_ADMIN_OF_PIDS, f"{INJECTED}, stating pid 0",
        "`ESRCH` (__scm_send)", "hears nothing", hearing(inject_as_nobody),
    ),
    Row(
        DEVICES, PROCESS, senders.SYS_ADMIN_OF_PIDS, f"{INJECTED}, stating another's pid",
        "multicasts with that pid (scm_check_creds)", "told as `INJECTED`",
        hearing(inject_as_its_parent),
    ),
    Row(
        DEVICES, PROCESS, senders.USER_SYS_ADMIN, INJECTED, "multicasts with the sender's uid",
        "rejected: `not_root`", hearing(inject),
    ),
    Row(
        DEVICES, PROCESS, senders.USER_WHO_MAY_BE_ROOT, f"{INJECTED}, stating root's uid",
        "multicasts with that uid (scm_check_creds)", "told as `INJECTED`",
        hearing(inject_as_root_of_anything),
    ),
    Row(
        DEVICES, PROCESS, senders.ALL_BUT_SYS_ADMIN, INJECTED,
        "`EPERM` (uevent_net_rcv_skb)", "hears nothing", hearing(inject),
    ),
    Row(
        DEVICES, PROCESS, senders.OTHER_USERS, INJECTED,
        "`EPERM`: the capability must be over the network namespace", "hears nothing",
        hearing(inject),
    ),
    Row(
        DEVICES, PROCESS, senders.OTHER_NETWORK, INJECTED,
        "multicasts in the sender's network namespace", "hears nothing", hearing(inject),
    ),
    Row(
        DEVICES, PROCESS, senders.SYS_ADMIN, "a text that is no event", "multicasts it",
        "rejected: `malformed`", hearing(lambda _: uevents.inject(MALFORMED)),
    ),
    Row(
        DEVICES, PROCESS, senders.NET_ADMIN, "an event, to the group",
        "multicasts from the sender's port", "rejected: `foreign_sender`",
        hearing(to_group(EVENT, 1)),
    ),
    Row(
        DEVICES, PROCESS, senders.NET_ADMIN, "an event, to the listener's port",
        "unicasts from the sender's port", "rejected: `unicast`", hearing(to_port(EVENT)),
    ),
    Row(
        DEVICES, PROCESS, senders.ALL_BUT_NET_ADMIN, "an event, to the group",
        "`EPERM` (netlink_sendmsg)", "hears nothing", hearing(to_group(EVENT, 1)),
    ),
    Row(
        DEVICES, "a container's kernel", senders.NOBODY, "an event, listened to with `netns=`",
        "multicasts as root of the container", "told as `KERNEL`, known by pid 0",
        in_container(100_000, make_links),
    ),
    Row(
        DEVICES, "a container", senders.NOBODY, f"{INJECTED}, from root who is our root",
        "multicasts with our root's uid", "told as `INJECTED`",
        in_container(0, lambda: uevents.inject(EVENT)),
    ),
    Row(
        DEVICES, "a container", senders.NOBODY, f"{INJECTED}, from root who is not ours",
        "multicasts with that uid", "rejected: `not_root`",
        in_container(100_000, lambda: uevents.inject(EVENT)),
    ),
    Row(
        DEVICES, PROCESS, senders.USER_SYS_ADMIN,
        f"{INJECTED}, to a listener in a user namespace below",
        "tells it nobody's uid (from_kuid_munged)",
        "told as `INJECTED`: root looks the same from there", heard_from_below,
    ),
    Row(
        UDEV, "udevd, or whoever is as root", senders.NET_ADMIN, "an event with udevd's header",
        "multicasts from the sender's port", "told as `UDEV`",
        hearing(to_group(FROM_UDEV, 2), "udev"),
    ),
    Row(
        UDEV, PROCESS, senders.ALL_BUT_NET_ADMIN, "the same", "`EPERM` (netlink_sendmsg)",
        "hears nothing", hearing(to_group(FROM_UDEV, 2), "udev"),
    ),
    Row(
        UDEV, PROCESS, senders.OTHER_USERS, "the same", "`EPERM`", "hears nothing",
        hearing(to_group(FROM_UDEV, 2), "udev"),
    ),
    Row(
        UDEV, PROCESS, senders.USER_NET_ADMIN, "the same", "multicasts with the sender's uid",
        "rejected: `not_root`", hearing(to_group(FROM_UDEV, 2), "udev"),
    ),
    Row(
        UDEV, PROCESS, senders.USER_WHO_MAY_BE_ROOT, "the same, stating root's uid",
        "multicasts with that uid (scm_check_creds)", "told as `UDEV`",
        hearing(udev_as_root_of_anything, "udev"),
    ),
    Row(
        UDEV, PROCESS, senders.USER, "the same, by a socket that root has connected",
        "multicasts with the sender's uid: rights were asked for in netlink_connect",
        "rejected: `not_root`", connected,
    ),
    Row(
        UDEV, PROCESS, senders.NET_ADMIN, "an event as the kernel writes it", "multicasts it",
        "rejected: `udev_prefix`", hearing(to_group(EVENT, 2), "udev"),
    ),
    Row(
        UDEV, PROCESS, senders.NET_ADMIN, "an event, to the listener's port",
        "unicasts it", "rejected: `unicast`", hearing(to_port(FROM_UDEV), "udev"),
    ),
    Row(
        UDEV, PROCESS, senders.NET_ADMIN, "more than 64 KiB", "multicasts it",
        "rejected: `truncated`", hearing(to_group(FROM_UDEV + bytes(70_000), 2), "udev"),
    ),
    Row(
        FAMILIES, KERNEL, senders.NOBODY, "a notification", "multicasts from port 0", "believed",
        kernel_notification,
    ),
    Row(
        FAMILIES, PROCESS, senders.NET_ADMIN, "a notification, to the group or the listener's port",
        "delivers it from the sender's port", "rejected: `foreign_sender`", notification,
    ),
    Row(
        FAMILIES, PROCESS, senders.ALL_BUT_NET_ADMIN, "the same", "`EPERM` (netlink_sendmsg)",
        "hears nothing", notification,
    ),
    Row(
        CLOSING, KERNEL, senders.NOBODY, "a socket that has closed", "multicasts from port 0",
        "believed", destroyed,
    ),
    Row(
        CLOSING, PROCESS, senders.NET_ADMIN, "a socket that never was",
        "multicasts from the sender's port", "rejected: `foreign_sender`", destroyed,
    ),
    Row(
        CLOSING, PROCESS, senders.ALL_BUT_NET_ADMIN, "the same", "`EPERM` (netlink_sendmsg)",
        "hears nothing", destroyed,
    ),
    Row(
        USER, PROCESS, senders.ANYBODY, "a message, to a port",
        "delivers it with the sender's pid and uid (netlink_add_usersock_entry)",
        "told, with those credentials", message(unicast),
    ),
    Row(
        USER, PROCESS, senders.ANYBODY, "a message, to a group", "delivers it the same",
        "told, with those credentials", message(to_its_group),
    ),
    Row(
        USER, PROCESS, senders.ANYBODY, "a message, stating another's pid",
        "`EPERM` (scm_check_creds)", "hears nothing", message(as_its_parent),
    ),
    Row(
        USER, PROCESS, senders.SYS_ADMIN_OF_PIDS, "the same", "delivers it with that pid",
        "told, with what was stated", message(as_its_parent),
    ),
    Row(
        USER, PROCESS, senders.OTHER_USERS, "a message, to a port",
        "delivers it with the uid that the sender has here", "told, with those credentials",
        message(unicast),
    ),
    Row(
        USER, PROCESS, senders.OTHER_NETWORK, "the same", "`ECONNREFUSED` (netlink_lookup)",
        "hears nothing", message(unicast),
    ),
    Row(
        USER, PROCESS, senders.ANYBODY, "more than 256 KiB", "delivers it",
        "raised: `TruncatedError`", too_long,
    ),
    Row(
        USER, PROCESS, senders.ANYBODY, "so much that others' messages have no room",
        "refuses theirs, and drops multicasts (netlink_attachskb, netlink_overrun)",
        "raised: `OverrunError`, which counts them", filled,
    ),
    Row(
        USER, "a receiver", senders.ALL_BUT_NET_ADMIN, "that it joins a group",
        "`EPERM` (netlink_setsockopt)", "raised: `PermissionError`", joining,
    ),
    Row(
        FILES, "udevd, or whoever is root", senders.NOTHING, "properties, into /run/udev/data",
        "root's directory", "told as `COLDPLUG`, of `source=\"udev\"`", noted,
    ),
    Row(
        FILES, PROCESS, senders.USER, "the same", "`EACCES`", "hears nothing", noted,
    ),
    Row(
        FILES, "whoever mounts", senders.ROOT, "another /sys, over ours",
        "CAP_SYS_ADMIN over the mount namespace",
        "told as `COLDPLUG`: the listener may mount, and looks at a sysfs of its own",
        mounted_over(senders.EVERY, "lo"),
    ),
    Row(
        FILES, "whoever mounts", senders.ROOT,
        "a /sys with other interfaces, to a listener that may not mount", "the same",
        "raised: `LocalProtocolError`", mounted_over(0, "lo", "other"),
    ),
    Row(
        FILES, "whoever mounts", senders.ROOT, "a /sys with the same interfaces, to the same",
        "the same", "told as `COLDPLUG`: it is believed", mounted_over(0, "lo"),
    ),
    Row(
        FILES, KERNEL, senders.NOBODY, "/proc/thread-self/net", "the thread's network namespace",
        "believed", proc_net,
    ),
    Row(
        FILES, PROCESS, senders.ANYBODY, "its own name and command line, in /proc",
        "takes any bytes", "shows it with escapes", named,
    ),
)  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.protocol}-{row.by.words}-{row.sent}")
@on_every_surface
async def test_what_is_sent_comes_to_what_the_page_says(
    surface: Surface, row: Row, tmp_path: pathlib.Path
) -> None:
    """The kernel refuses or delivers it; it is told by its origin, or rejected by its reason."""
    await row.scene(surface, row, tmp_path)


def test_the_page_has_these_rows() -> None:
    """All of them, in this order, cell by cell."""
    text = PAGE.read_text("utf-8").partition("## The table")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    told = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]
    assert told == [row.cells for row in ROWS]
