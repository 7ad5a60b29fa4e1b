"""Programs in C to compare with, compiled when needed, and the floor as a process.

May call nothing of the others.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

HERE: Final = Path(__file__).parent
_ORDER: Final = struct.Struct("=IIII")


class Floor:
    """A process that measures when told, in the network namespace of the thread that made it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [str(compiled("floor"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def seconds(self, extensions: int = 0, states: int = 0xFFF, thrash: int = 0) -> float:
        """How long both dumps take, with these masks, and ``thrash`` bytes walked before them.

        Raises OSError with what the kernel says.
        """
        return self._ordered(extensions, states, thrash, 0)

    def counting(self, extensions: int = 0) -> float:
        """How long one walk for both families takes in which each row is counted."""
        return self._ordered(extensions, 0xFFF, 0, 1)

    def _ordered(self, *order: int) -> float:
        self._process.stdin.write(_ORDER.pack(*order))  # type: ignore[union-attr]
        line = self._process.stdout.readline()  # type: ignore[union-attr]  # both are pipes
        nanoseconds = int(line)
        if nanoseconds < 0:
            raise OSError(-nanoseconds, os.strerror(-nanoseconds))
        return nanoseconds / 1e9

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]


def compiled(name: str) -> Path:
    """The program of this name, compiled anew if it is older than its source.

    Ends everything without a compiler; raises CalledProcessError if it complains.
    """
    if shutil.which("cc") is None:
        sys.exit("what this is compared with is a program in C: install a compiler (Debian: gcc)")
    source, program = HERE / f"{name}.c", HERE / "_build" / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        program.parent.mkdir(exist_ok=True)
        subprocess.run(
            ["cc", "-O2", "-Wall", "-Wextra", "-o", str(program), str(source)], check=True
        )
    return program
