"""The floor to compare with: ``floor.c``, compiled when needed, and one process of it."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from typing import Final, Self

SOURCE: Final = Path(__file__).with_name("floor.c")
PROGRAM: Final = SOURCE.with_name("_build") / "floor"
_ORDER: Final = struct.Struct("=III")


class Floor:
    """A process that measures when told, in the network namespace of the thread that made it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [str(compiled())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def seconds(self, extensions: int = 0, states: int = 0xFFF, thrash: int = 0) -> float:
        """How long both dumps take, with these masks, and ``thrash`` bytes walked before them.

        Raises OSError with what the kernel says.
        """
        self._process.stdin.write(_ORDER.pack(extensions, states, thrash))  # type: ignore[union-attr]
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


def compiled() -> Path:
    """The program, compiled anew if it is older than its source.

    Raises FileNotFoundError without gcc, CalledProcessError if it complains.
    """
    if not PROGRAM.exists() or PROGRAM.stat().st_mtime < SOURCE.stat().st_mtime:
        PROGRAM.parent.mkdir(exist_ok=True)
        subprocess.run(
            ["gcc", "-O2", "-Wall", "-Wextra", "-o", str(PROGRAM), str(SOURCE)], check=True
        )
    return PROGRAM
