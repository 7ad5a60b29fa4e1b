"""``netlink-safe exporter``: TCP sockets for Prometheus, over HTTP or as a file.

May call ``collectors.prometheus``, ``transport.namespace``, ``cli`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Final

import click

from netlink_safe.cli import options
from netlink_safe.errors import LocalProtocolError

if TYPE_CHECKING:
    from netlink_safe.collectors.prometheus.exposition import TimedCollector
    from netlink_safe.collectors.prometheus.tcp import Names
    from netlink_safe.collectors.tcp_detail import Dimension
    from netlink_safe.collectors.tcp_stats import Method

LISTEN: Final = "127.0.0.1:9979"
ADDRESS: Final = re.compile(r"(?:(?:\[([\da-fA-F:.]+)\]|([^\[\]:/@\s]*)):)?(\d{1,5})", re.ASCII)
LARGEST_PORT: Final = 65535
MISSING: Final = "the exporter needs prometheus_client and waitress"


def address(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, ``[ADDRESS]:PORT``, ``:PORT`` or ``PORT``."""
    found = ADDRESS.fullmatch(text)
    if found is None or int(found[3]) > LARGEST_PORT:
        raise click.BadParameter(f"{text!r} is no HOST:PORT, such as {LISTEN} or [::1]:9979")
    return found[1] or found[2] or "127.0.0.1", int(found[3])


def tell(line: str) -> None:
    """Say it on standard error, or do without where nobody can be told."""
    with contextlib.suppress(OSError):  # a log on a full disk, or whose reader has gone
        click.echo(f"netlink-safe: {line}", err=True)


@click.command(short_help="Serve TCP sockets to Prometheus.")
@click.option(
    "--listen",
    default=LISTEN,
    show_default=True,
    callback=address,
    metavar="HOST:PORT",
    help="Where to serve /metrics and /healthz; port 0 takes a free one.",
)
@click.option(
    "--names",
    type=click.Choice(["netlink_safe", "node_exporter"]),
    default="netlink_safe",
    show_default=True,
    help="What metrics are called; node_exporter's tcpstat collector has one for dashboards of it.",
)
@options.method
@options.timeout
@click.option("--info", is_flag=True, help="Histograms of round-trip times, bytes and the like.")
@click.option(
    "--by",
    type=click.Choice(["port", "uid", "cgroup"]),
    multiple=True,
    help="Tell sockets apart by this; may be given several times.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="Values that a label may have; the rest is 'other'.",
)
@click.option(
    "--netns",
    "wanted",
    type=options.namespace,
    multiple=True,
    metavar="NAME|PATH|PID",
    help="Look into this network namespace; may be given several times.",
)
@click.option(
    "--all-netns", is_flag=True, help="Look into every network namespace there is, 256 at most."
)
@click.option(
    "--textfile",
    type=click.Path(dir_okay=False),
    metavar="PATH",
    help="Write a file for node_exporter's textfile collector instead of serving.",
)
@click.option(
    "--every",
    type=float,
    callback=options.positive,
    metavar="SECONDS",
    help="With --textfile: write again and again.",
)
@click.pass_context
def command(
    context: click.Context,
    listen: tuple[str, int],
    names: Names,
    method: Method,
    timeout: float,
    info: bool,
    by: tuple[Dimension, ...],
    limit: int,
    wanted: tuple[str | int, ...],
    all_netns: bool,
    textfile: str | None,
    every: float | None,
) -> None:
    """Serve TCP sockets to Prometheus, each scrape within --timeout.

    A scrape for which the kernel has no answer in time says so in metrics, and the next one starts
    afresh.  It needs no rights but for other network namespaces.
    """
    try:
        from prometheus_client import ProcessCollector

        from netlink_safe.cli import exporter_file, exporter_server
        from netlink_safe.collectors.prometheus import NetlinkSelfCollector, TcpStatCollector
        from netlink_safe.collectors.prometheus.every_namespace import EveryNamespace
        from netlink_safe.collectors.prometheus.exposition import Untimed, application
        from netlink_safe.transport.namespace import Namespace
    except ImportError as error:
        raise click.ClickException(f"{MISSING}: pip install 'netlink-safe[exporter]'") from error
    if textfile == "":
        raise click.UsageError("--textfile '' names no file")
    if wanted and all_netns:
        raise click.UsageError("give --netns, or --all-netns")
    if every is not None and textfile is None:
        raise click.UsageError("--every goes with --textfile")
    source = context.get_parameter_source("listen")
    if textfile and source is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("give --listen, or --textfile")
    if textfile and info:
        raise click.UsageError(
            "of a histogram that goes up and down node_exporter's textfile collector loses sum and "
            "count; leave --info out, or have Prometheus scrape the exporter itself"
        )
    if (info or by) and (method == "counters" or names == "node_exporter"):
        raise click.UsageError(
            "--info and --by look at every row, and have names of their own: "
            "not with --method counters, nor with --names node_exporter"
        )
    everywhere = EveryNamespace()
    chosen = {str(each): each for each in wanted}
    try:
        for namespace in wanted:
            Namespace(namespace).close()  # whatever can be none is told now
        tcp = TcpStatCollector(
            names=names,
            method=method,
            timeout=timeout,
            namespaces=everywhere if all_netns else (lambda: chosen) if chosen else None,
            info=info,
            by=by,
            limit=limit,
        )
    except LocalProtocolError as error:
        raise click.UsageError(str(error)) from error
    collectors: list[TimedCollector] = [tcp]
    if all_netns:
        collectors.append(everywhere)
        for line in everywhere.missing_rights():
            tell(line)
    if textfile:
        context.exit(exporter_file.write(textfile, collectors, every))
    # Of this process; who reads a file has metrics of those names of its own.
    collectors += [NetlinkSelfCollector(), Untimed(ProcessCollector(registry=None))]
    host, port = listen
    where = exporter_server.Address(host, port)
    try:
        server = exporter_server.Server(application(collectors, "netlink-safe exporter"), where)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {where}: {error.strerror}") from error
    except ValueError as error:
        told = f"cannot listen on {where}: it is no address, and no name of one"
        raise click.ClickException(told) from error
    except RuntimeError as error:  # of threading
        told = (
            f"cannot start {exporter_server.THREADS} threads: {error}; see RLIMIT_NPROC, TasksMax="
        )
        raise click.ClickException(told) from error

    def tell_where() -> None:
        for each in server.addresses:
            tell(f"serving http://{each}/metrics")

    server.run(tell_where)
