"""What an exporter answers to HTTP: a WSGI application, for whichever server.

::

    /metrics   a scrape of all collectors: text, or OpenMetrics if asked for, gzip if accepted
    /healthz   ok, without looking at anything
    /          a page that says so

May call ``collectors.prometheus`` and prometheus_client.
"""

from __future__ import annotations

import gzip
import math
import re
import threading
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
from prometheus_client.exposition import choose_encoder, gzip_accepted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

#: Scrapes at the same time; they share one look, so that each costs little more than its thread.
SCRAPES: Final = 64
#: What Prometheus says of how long it waits, in seconds, and how much of that is for the way.
PATIENCE: Final = "HTTP_X_PROMETHEUS_SCRAPE_TIMEOUT_SECONDS"
ON_THE_WAY: Final = 0.5
#: However little time there is left, there is a try.
LEAST: Final = 0.05

TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
#: Python writes 2.0 for a number that clients in Go write as 2.
WHOLE_NUMBER: Final = re.compile(rb"(?<=\d)\.0$", re.MULTILINE)
#: A weight of 0 is a no.
REFUSED: Final = re.compile(r"\bgzip\s*;\s*q=0(\.0*)?\s*(,|$)", re.IGNORECASE)
#: Fast, and nearly as small: the same words come again and again.
COMPRESSION: Final = 3


class TimedCollector(Protocol):
    """A collector that can be given less time for one scrape."""

    def collect(self, timeout: float | None = None) -> Iterable[Metric]: ...


@attrs.frozen(slots=True)
class Untimed:
    """A collector of prometheus_client's own, which knows of no time but takes little."""

    collector: Collector

    def collect(self, timeout: float | None = None) -> Iterable[Metric]:  # noqa: ARG002  # as said
        """What it has."""
        return self.collector.collect()


@attrs.frozen(slots=True)
class Scrape:
    """What prometheus_client takes for a registry: all collectors, each with so much time."""

    collectors: Sequence[TimedCollector]
    timeout: float | None = None

    def collect(self) -> Iterator[Metric]:
        """The families of each collector in turn."""
        for collector in self.collectors:
            yield from collector.collect(self.timeout)


@attrs.frozen(slots=True)
class Answer:
    """One answer to a request."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def application(collectors: Sequence[TimedCollector], title: str) -> WSGIApplication:
    """The application; ``title`` says what it serves, on its page."""
    slots = threading.BoundedSemaphore(SCRAPES)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            found = _answer(environ, collectors, slots, title)
        except OSError as error:  # which a server might take for one of the connection
            raise RuntimeError(f"a scrape failed: {error}") from error
        headers = [("Content-Type", found.content_type), ("Content-Length", str(len(found.body)))]
        start_response(f"{found.status.value} {found.status.phrase}", [*headers, *found.headers])
        return [found.body] if environ["REQUEST_METHOD"] != "HEAD" else []

    return answer


def _answer(
    environ: WSGIEnvironment,
    collectors: Sequence[TimedCollector],
    slots: threading.BoundedSemaphore,
    title: str,
) -> Answer:
    path = environ.get("PATH_INFO") or "/"
    if path not in {"/metrics", "/healthz", "/"}:
        return Answer(HTTPStatus.NOT_FOUND, TEXT, b"there are /metrics and /healthz\n")
    if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
        allowed = (("Allow", "GET, HEAD"),)
        return Answer(HTTPStatus.METHOD_NOT_ALLOWED, TEXT, b"GET and HEAD only\n", allowed)
    if path == "/healthz":
        return Answer(HTTPStatus.OK, TEXT, b"ok\n")
    if path == "/":
        return Answer(HTTPStatus.OK, HTML, PAGE.format(title=escape(title)).encode())
    if not slots.acquire(blocking=False):
        again = (("Retry-After", "1"),)
        told = f"{SCRAPES} scrapes are under way already\n".encode()
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, TEXT, told, again)
    try:
        return _metrics(environ, Scrape(collectors, patience(environ)))
    finally:
        slots.release()


PAGE: Final = """<!DOCTYPE html>
<title>{title}</title>
<h1>{title}</h1>
<p><a href="metrics">metrics</a></p>
<p><a href="healthz">health</a></p>
"""


def patience(environ: dict[str, Any]) -> float | None:
    """How many seconds whoever asks can wait for numbers; None if it does not say."""
    try:
        seconds = float(environ.get(PATIENCE, ""))
    except ValueError:
        return None
    return max(seconds - ON_THE_WAY, LEAST) if math.isfinite(seconds) else None


def _encoder(accepted: str) -> tuple[Callable[[Any], bytes], str]:
    """The format that is asked for; of a version that is none, the plain one."""
    try:
        return choose_encoder(accepted.replace('"', ""))
    except (TypeError, ValueError):
        return choose_encoder("")


def _metrics(environ: WSGIEnvironment, scrape: Scrape) -> Answer:
    encode, content_type = _encoder(environ.get("HTTP_ACCEPT", ""))
    body = encode(scrape)
    if content_type.startswith("text/plain"):
        body = WHOLE_NUMBER.sub(b"", body)
    encodings = environ.get("HTTP_ACCEPT_ENCODING", "")
    if not gzip_accepted(encodings) or REFUSED.search(encodings):
        return Answer(HTTPStatus.OK, content_type, body)
    packed = gzip.compress(body, COMPRESSION, mtime=0)
    return Answer(HTTPStatus.OK, content_type, packed, (("Content-Encoding", "gzip"),))
