"""``netlink-safe uevents`` and the examples, as their users run them."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from links import Links
from test_command import COMMAND, run, start
from test_imports import loaded_by
from uevents import inject, text

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
STICK = "/devices/pci0000:00/usb1/1-1"
LO = "/devices/virtual/net/lo"


@pytest.fixture
def listener() -> Iterator[subprocess.Popen[str]]:
    """The command, after it has subscribed: its first line is read."""
    process = start(["uevents", "--json", "--coldplug"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with process:
        yield process
        process.kill()


def test_a_line_for_each_event_below_a_heading() -> None:
    """What is there, with --coldplug, and an end after so many."""
    ended = run("uevents", "--coldplug", "--subsystem", "net", "--count", "1")
    heading, line = ended.stdout.splitlines()
    assert heading.split() == ["TIME", "ACTION", "SUBSYSTEM", "DEVTYPE", "ORIGIN", "DEVPATH"]
    assert line.split()[1:] == ["add", "net", "coldplug", LO]
    assert (ended.returncode, ended.stderr) == (0, "")


def test_json_is_an_object_a_line() -> None:
    """With everything that an event says."""
    ended = run("uevents", "--coldplug", "--subsystem", "net", "--count", "1", "--json")
    told = json.loads(ended.stdout)
    assert told == {
        "kind": "uevent",
        "action": "add",
        "devpath": LO,
        "subsystem": "net",
        "devtype": None,
        "devname": None,
        "driver": None,
        "major": None,
        "minor": None,
        "seqnum": None,
        "origin": "coldplug",
        "properties": {
            "ACTION": "add",
            "DEVPATH": LO,
            "SUBSYSTEM": "net",
            "INTERFACE": "lo",
            "IFINDEX": "1",
        },
    }


def test_events_are_shown_as_they_come(listener: subprocess.Popen[str]) -> None:
    """Through a pipe, too: no line waits in a buffer."""
    assert listener.stdout is not None
    with Links() as links:
        links.make("a", "b")
    for line in listener.stdout:
        told = json.loads(line)
        if told["origin"] == "kernel":
            assert (told["action"], told["subsystem"]) == ("add", "net")
            assert told["seqnum"] > 0
            break


def test_an_interrupt_is_quiet(listener: subprocess.Popen[str]) -> None:
    """No traceback, and a status of its own."""
    listener.send_signal(signal.SIGINT)
    _, complaint = listener.communicate(timeout=30)
    assert (listener.returncode, complaint) == (130, "")


def test_it_ends_after_its_time() -> None:
    """--for is no timeout: to have heard nothing is a result."""
    ended = run("uevents", "--for", "0.1", "--subsystem", "nothing")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("TIME"), "the heading says that it listens"
    assert ended.stdout.count("\n") == 1


def test_a_device_cannot_move_the_cursor() -> None:
    """What is not printable is shown as an escape."""
    program = """
from netlink_safe.cli import uevents_text
from netlink_safe.families.uevent import Origin, made
print(uevents_text.line(made(b"add", b"/x\\x1b[2J\\xff\\n", b"usb", [], Origin.INJECTED)))
"""
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert shown.rstrip("\n").endswith(r"/x\x1b[2J\udcff\n")


def test_an_overrun_is_told_with_what_it_hid() -> None:
    """In words for people, and as objects for programs."""
    program = """
from netlink_safe.cli import uevents, uevents_text
from netlink_safe.protocol.notices import Overrun, Resynced
for item in (Overrun(7), Overrun(7, "no sysfs"), Resynced(added=2, removed=1)):
    print(uevents_text.notice(item))
    uevents._show_json(item)
"""
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert shown.splitlines() == [
        "--- 7 events were lost, the receive buffer overran",
        '{"kind": "overrun", "drops": 7, "unresynced": null}',
        "--- 7 events were lost, the receive buffer overran; no look at sysfs: no sysfs",
        '{"kind": "overrun", "drops": 7, "unresynced": "no sysfs"}',
        "--- what they hid: 1 removed, 2 added; all is known again",
        '{"kind": "resynced", "added": 2, "removed": 1, "changed": 0}',
    ]


def test_without_udevd_it_says_so() -> None:
    """It listens all the same: udevd may start later."""
    ended = run("uevents", "--source", "udev", "--for", "0.1")
    assert ended.returncode == 0
    assert ended.stderr.startswith("netlink-safe: no udevd runs here")


@pytest.mark.parametrize(
    "arguments", [["--for", "0"], ["--for", "inf"], ["--count", "0"], ["--source", "dbus"]]
)
def test_wrong_usage_is_told(arguments: list[str]) -> None:
    """With click's status."""
    assert run("uevents", *arguments).returncode == 2


def test_the_command_loads_no_event_loop() -> None:
    """Nor codecs, nor what draws."""
    assert loaded_by("import netlink_safe.cli.uevents") == set()
    assert loaded_by("from netlink_safe.blocking import open_uevents") == set()


@pytest.mark.parametrize("name", ["usb_hotplug", "usb_hotplug_trio"])
def test_the_examples_see_a_stick_come_and_go(name: str) -> None:
    """It was injected: no device is there, and so no serial number."""
    arguments = [sys.executable, "-u", str(EXAMPLES / f"{name}.py")]
    with (
        subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process,
        subprocess.Popen([*COMMAND, "uevents"], stdout=subprocess.DEVNULL) as other,
    ):
        assert process.stdout is not None
        other.kill()
        told = ""
        while not told:  # until it has subscribed, it hears nothing
            for action in ("add", "remove"):
                inject(
                    text(
                        action,
                        STICK,
                        "usb",
                        DEVTYPE="usb_device",
                        PRODUCT="46d/c52b/1211",
                        BUSNUM="001",
                    )
                )
            told = _line_within(process, 0.2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0
    shown = {"usb_hotplug": ("+ 046d:c52b", "- 046d:c52b"), "usb_hotplug_trio": ("add", "remove")}
    assert told.startswith(shown[name])


def _line_within(process: subprocess.Popen[str], seconds: float) -> str:
    import select

    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if readable else ""


def test_the_example_stays_small() -> None:
    """No event loop and no codecs are loaded by it, and it fits on a screen."""
    path = EXAMPLES / "usb_hotplug.py"
    assert loaded_by(f"import runpy; runpy.run_path({str(path)!r})") == set()
    assert len(path.read_text("utf-8").splitlines()) <= 40
