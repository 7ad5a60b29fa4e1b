"""The exporter's HTTP server, by waitress: it is ended by a signal, and watched over by systemd.

One thread does all that sockets do, so that whoever is slow to ask or to read holds up nobody; the
application runs in others, of which scrapes may take all but a few.

May call ``cli.sd_notify``, ``collectors.prometheus.exposition`` and waitress.
"""

from __future__ import annotations

import contextlib
import http.client
import resource
import signal
import threading
from typing import TYPE_CHECKING, Final

import attrs
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, MultiSocketServer, create_server

from netlink_safe.cli import sd_notify
from netlink_safe.collectors.prometheus.exposition import SCRAPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from wsgiref.types import WSGIApplication

#: Some are left for whoever asks for its health while every scrape hangs.
THREADS: Final = SCRAPES + 8
#: Connections are descriptors: so many are wanted in all, and so many kept for scrapes.
DESCRIPTORS: Final = 4096
FOR_SCRAPES: Final = 512
#: Seconds after which a connection on which nothing moves is closed, above any scrape interval.
IDLE: Final = 90
#: Bytes; Prometheus sends a few hundred, and no body.
LONGEST_HEADER: Final = 16 * 1024
LONGEST_BODY: Final = 16 * 1024
#: Seconds in which the exporter has to answer itself.
ANSWERS_WITHIN: Final = 5.0


class Terminated(SystemExit):
    """SIGTERM: the end that was asked for."""


@attrs.frozen(slots=True)
class Address:
    """Where to listen, and where one listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """A connection, of which one request at a time is answered.

    Whoever sends the next before that has its connection closed behind the answer.  Else one thread
    would be kept for as long as it does not read, and the answers to all that it asked.
    """

    def service(self) -> None:
        """Answer the first request."""
        with self.requests_lock:
            if len(self.requests) > 1:
                self.requests[0].headers["CONNECTION"] = "close"
        super().service()


class Server:
    """A server that listens, and serves when it is run."""

    def __init__(self, application: WSGIApplication, address: Address) -> None:
        """Listen.

        Raises OSError for an address that is taken or not ours, ValueError for none, RuntimeError
        where threads are not to be had.
        """
        self._server = create_server(
            application,
            host=address.host,
            port=address.port,
            threads=THREADS,
            connection_limit=_connections(),
            channel_timeout=IDLE,
            cleanup_interval=IDLE // 3,
            max_request_header_size=LONGEST_HEADER,
            max_request_body_size=LONGEST_BODY,
            asyncore_use_poll=True,  # select knows no descriptor above 1023
            log_socket_errors=False,
            ident="netlink-safe",
        )
        for each in _listeners(self._server):
            each.channel_class = Channel
        listening = getattr(self._server, "effective_listen", None)
        self.addresses: list[Address] = [
            Address(host, int(port))
            for host, port in listening
            or [(self._server.effective_host, self._server.effective_port)]
        ]

    def run(self, tell: Callable[[], None]) -> None:
        """Serve until SIGTERM, which ends it well, or SIGINT.  Raises KeyboardInterrupt.

        ``tell`` is called once a signal would do so.
        """
        ended_by: list[int] = []

        def end(number: int, _frame: FrameType | None) -> None:
            ended_by.append(number)
            raise Terminated  # out of the loop, behind which threads and sockets are closed

        before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            with contextlib.suppress(Terminated), _watched(self.addresses[0]):
                tell()
                sd_notify.notify(sd_notify.READY)
                self._server.run()
        finally:
            sd_notify.notify(sd_notify.STOPPING)
            for number, handler in before.items():
                # What has ended by SIGTERM does not die of another one behind that.
                signal.signal(number, signal.SIG_IGN if signal.SIGTERM in ended_by else handler)
        if signal.SIGINT in ended_by:
            raise KeyboardInterrupt


def _listeners(server: BaseWSGIServer | MultiSocketServer) -> list[BaseWSGIServer]:
    """What listens: the server, or those that it is made of."""
    if isinstance(server, MultiSocketServer):
        return [each for each in server.map.values() if isinstance(each, BaseWSGIServer)]
    return [server]


def _connections() -> int:
    """How many there may be: as many as descriptors, less some for scrapes, or half if few.

    The limit of descriptors is raised to what is wanted if that is allowed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError):  # a service may be forbidden to
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY:
        soft = DESCRIPTORS
    return max(soft - FOR_SCRAPES, soft // 2)


@contextlib.contextmanager
def _watched(address: Address) -> Iterator[None]:
    """Tell systemd meanwhile that the exporter lives, as long as it answers over its own socket."""
    seconds = sd_notify.watchdog_seconds()
    if seconds is None:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        while not done.wait(seconds / sd_notify.MARGIN):
            if answers(address, min(seconds / sd_notify.MARGIN, ANSWERS_WITHIN)):
                sd_notify.notify(sd_notify.ALIVE)

    threading.Thread(target=watch, name="netlink_safe watchdog", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def answers(address: Address, seconds: float) -> bool:
    """Whether the exporter there says that it is well."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
    connection = http.client.HTTPConnection(host, address.port, timeout=seconds)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
