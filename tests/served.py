"""Programs that serve HTTP: started, asked over a connection that stays open, and ended."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
from typing import TYPE_CHECKING, Final

import kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

#: Seconds in which a program is up, and has answered.
PATIENCE: Final = 30.0


@contextlib.contextmanager
def started(
    command: Sequence[str], is_up: Callable[[], bool], log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is up, and ended behind the body."""
    with contextlib.ExitStack() as held:
        output = held.enter_context(log.open("wb")) if log else subprocess.DEVNULL
        process = held.enter_context(subprocess.Popen(command, stdout=output, stderr=output))
        try:
            kernel.until(lambda: process.poll() is not None or is_up(), PATIENCE)
            assert process.poll() is None, command
            yield process
        finally:
            process.kill()


def answers(port: int, path: str = "/") -> bool:
    """Whether somebody says 200 OK there."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, PATIENCE)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False


class Scraper:
    """A connection that stays open, so that every scrape meets the same sockets."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._connection.connect()
        self.close = self._connection.close

    def answer(self, path: str = "/metrics") -> tuple[int, str]:
        """The status, and the whole text."""
        self._connection.request("GET", path)
        response = self._connection.getresponse()
        return response.status, response.read().decode()

    def text(self, path: str = "/metrics") -> str:
        """The text of an answer that is 200 OK."""
        status, text = self.answer(path)
        assert status == http.HTTPStatus.OK, text
        return text
