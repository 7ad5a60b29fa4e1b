"""Blocks of the pages for agents, and what they tell."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import tcp_states
from agent_pages import Block, blocks_of, pages
from tcp_states import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator


TESTS: Final = Path(__file__).parent


ENDS_WITHIN: Final = 60.0


#: What the states of a page come to, as an expression behind its block.
TOLD: Final = {
    "psutil": "{each.labels['state']: each.value for each in CONNECTIONS.collect()[0].samples}",
    "pyroute2": "{TcpState(number).name: count for number, count in tcp_states().items()}",
    "proc_net_tcp": "tcp_states()",
    "opentelemetry": "exported()['tcp.sockets']",
}


#: What the programs around the blocks of a page have done already.
BEFORE_IT: Final = {
    "opentelemetry": """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
def exported():
    data = reader.get_metrics_data()
    return {
        metric.name: {
            point.attributes.get("network.connection.state", "").upper(): point.value
            for point in metric.data.data_points
        }
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
""",
}


BEHIND_IT: Final = {
    "psutil": "update()",
    "pyroute2": "from netlink_safe.blocking import TcpState",
}


PYTHON: Final = [
    pytest.param(page, each, id=f"{page} {each.when} {each.name}")
    for page in pages()
    for each in blocks_of(page)
    if each.language == "python"
]


def command_of(*parts: str) -> list[str]:
    return [sys.executable, "-c", "\n".join(parts)]


def environment() -> dict[str, str]:
    paths = filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def printed_by(*parts: str) -> Any:
    """What a program of these parts prints, in an interpreter and with descriptors of its own."""
    ended = subprocess.run(
        command_of(*parts),
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN,
        check=False,
        env=environment(),
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return json.loads(ended.stdout or "null")


def states_of(page: str, each: Block, *behind: str) -> dict[str, int]:
    """The states that a block counts, by their names."""
    told: dict[str, int] = printed_by(
        BEFORE_IT.get(page, ""),
        each.code,
        BEHIND_IT.get(page, ""),
        *behind,
        f"import json; print(json.dumps({TOLD[page]}))",
    )
    return told


@contextlib.contextmanager
def all_states() -> Iterator[dict[str, int]]:
    """Sockets in every state and both families, and how many are in each, by its name.

    Beside them a remainder of one that was closed in FIN_WAIT2, one that is bound and no more, and
    one of UDP.
    """
    with contextlib.ExitStack() as held:
        made = [held.enter_context(tcp_states.every_state(family)) for family in FAMILIES.values()]
        listener = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = socket.create_connection(listener.getsockname())
        held.enter_context(listener.accept()[0])
        client.shutdown(socket.SHUT_WR)
        tcp_states.until(client, tcp_states.FIN_WAIT2)
        client.close()
        held.enter_context(socket.socket()).bind(("127.0.0.1", 0))
        held.enter_context(socket.socket(type=socket.SOCK_DGRAM)).bind(("127.0.0.1", 0))
        more = {"listen": 1, "fin_wait2": 1, "close_wait": 1}
        yield {
            name.upper(): sum(counts[name] for counts in made) + more.get(name, 0)
            for name in made[0]
        }
