"""A client of QEMU's monitor, which the machine finds at one of its own serial ports.

The protocol is JSON, an object to a line: a greeting, then an answer to each command, and events in
between (QEMU's docs/interop/qmp-spec).
"""

from __future__ import annotations

import json
import os
import select
import time
from pathlib import Path
from typing import Any, Final, Self

PORT_NAME: Final = "netlink_safe.qmp"
PORTS: Final = Path("/sys/class/virtio-ports")
ANSWERS_WITHIN: Final = 30.0


class QmpError(Exception):
    """The monitor refused a command."""


class Monitor:
    """QEMU's monitor: what plugs devices into this machine, and pulls them out."""

    def __init__(self) -> None:
        self._descriptor = os.open(f"/dev/{_port()}", os.O_RDWR | os.O_CLOEXEC)
        self._received = b""
        self._deleted: set[str] = set()
        try:
            self.execute("qmp_capabilities")
        except QmpError as error:  # somebody in this boot was here before
            if "negotiation is already complete" not in str(error):
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def execute(self, command: str, **arguments: object) -> Any:
        """What the monitor answers to a command.  Raises QmpError, TimeoutError."""
        request = json.dumps({"execute": command, "arguments": arguments})
        os.write(self._descriptor, request.encode() + b"\n")
        deadline = time.monotonic() + ANSWERS_WITHIN
        while True:
            message = self._message(deadline)
            if "error" in message:
                raise QmpError(f"{command}: {message['error']['desc']}")
            if "return" in message:
                return message["return"]

    def plug(self, driver: str, name: str, **options: str) -> None:
        """Plug a device in, under a name of its own."""
        self.execute("device_add", driver=driver, id=name, **options)

    def unplug(self, name: str) -> None:
        """Pull a device out, so that its name and its port are free."""
        self._deleted.discard(name)
        self.execute("device_del", id=name)
        deadline = time.monotonic() + ANSWERS_WITHIN
        while name not in self._deleted:
            self._message(deadline)

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._received:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
                raise TimeoutError(f"QEMU's monitor said nothing in {ANSWERS_WITHIN:.0f} s")
            self._received += os.read(self._descriptor, 65536)
        line, _, self._received = self._received.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        if message.get("event") == "DEVICE_DELETED":
            self._deleted.add(message["data"].get("device", ""))
        return message


def _port() -> str:
    for port in PORTS.glob("*"):
        if (port / "name").read_text().strip() == PORT_NAME:
            return port.name
    raise FileNotFoundError(f"no serial port {PORT_NAME}: these tests run in tests/vm/run.py alone")
