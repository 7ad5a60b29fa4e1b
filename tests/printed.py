"""Examples as programs of their own: started, read line by line, and ended."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parent.parent / "examples"
TOLD_WITHIN = 60.0


class Printed:
    """What a program prints, line by line, each within a bound."""

    def __init__(self, program: subprocess.Popen[bytes]) -> None:
        assert program.stdout is not None
        self.program = program
        self._descriptor = program.stdout.fileno()
        self._received = b""

    def next(self) -> str:
        """The next line."""
        while b"\n" not in self._received:
            assert select.select([self._descriptor], [], [], TOLD_WITHIN)[0], "it says nothing"
            data = os.read(self._descriptor, 4096)
            assert data, "it has ended"
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()


@contextlib.contextmanager
def running(example: str, *arguments: str) -> Iterator[Printed]:
    """An example, killed at the end of the body if it still runs."""
    command = [sys.executable, str(EXAMPLES / example), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        try:
            yield Printed(program)
        finally:
            program.kill()
