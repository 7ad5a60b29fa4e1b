"""The pages for agents: their blocks run, and tell of the same sockets what the pages say."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
import pytest
from pyroute2 import DiagSocket
from pyroute2.netlink.diag import MarshalDiag

import kernel
import netlink_safe.blocking as nls
import tcp_states
from agent_pages import PAGES, Block, block, blocks_of, pages, text_of
from netlink_safe.collectors import tcpstat
from netlink_safe.wire.constants import NLMSG_DONE
from test_tcp_sockets import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS: Final = Path(__file__).parent
ENDS_WITHIN: Final = 60.0
#: Seconds in which a program that waits for ever is seen to do nothing.
SEEN_WAITING: Final = 1.5
STATES: Final = [nls.TcpState(number).name for number in range(1, 13)]
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
#: Takes away the end of every dump that the library asks for.
LOSES_THE_END: Final = f"""
import faults
from netlink_safe.transport import socket as transport
transport.opened.append(lambda sock: faults.attach(sock, faults.losing({NLMSG_DONE})))
"""
#: The same of pyroute2's.
LOSES_THE_END_OF_PYROUTE2: Final = f"""
import faults, pyroute2
class Losing(pyroute2.DiagSocket):
    def bind(self):
        super().bind()
        faults.attach(self.asyncore.socket, faults.losing({NLMSG_DONE}))
pyroute2.DiagSocket = Losing
"""


def command_of(*parts: str) -> list[str]:
    return [sys.executable, "-c", "\n".join(parts)]


def environment() -> dict[str, str]:
    paths = filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


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


def in_short(each: Block) -> str:
    """The same with a deadline that a test can wait for."""
    assert each.code.count("5.0") == 1
    return each.code.replace("5.0", "0.5")


def nonzero(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


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


def test_every_page_is_in_the_index() -> None:
    """And every one is short, and has nothing but blocks that are marked, and so tried here."""
    index = (PAGES / "README.md").read_text("utf-8")
    for page in pages():
        assert f"({page}.md)" in index
        text = text_of(page)
        assert text.count("\n") < 150
        assert len(re.findall("^```", text, re.MULTILINE)) == 2 * len(blocks_of(page))


@pytest.mark.parametrize(("page", "each"), PYTHON)
def test_a_block_runs_as_pasted(page: str, each: Block) -> None:
    """With sockets in every state; new code without a warning, too."""
    strict = "import warnings; warnings.simplefilter('error')" if each.when == "after" else ""
    call = f"{each.function}()" if page != "opentelemetry" and each.function else ""
    with all_states():
        printed_by(strict, BEFORE_IT.get(page, ""), each.code, call)


@pytest.mark.parametrize("page", TOLD)
def test_states_are_counted_alike_before_and_after(page: str) -> None:
    """Each that somebody is in; of the others the old code says nothing, and the new one 0."""
    with all_states() as expected:
        before = states_of(page, block(page, "before", "states"))
        after = states_of(page, block(page, "after", "states"))
    assert before == nonzero(after) == expected
    assert sorted(after) == sorted(STATES)
    assert after["CLOSE"] == after["NEW_SYN_RECV"] == 0


@pytest.mark.parametrize(("when", "left"), [("before", 1), ("after", 0)])
def test_a_gauge_of_psutil_keeps_what_was_set_last(when: str, left: int) -> None:
    """The old code sets no state that nobody is in any more; the new one sets it to 0."""
    told = states_of(
        "psutil",
        block("psutil", when, "states"),
        "import socket",
        "server = socket.create_server(('127.0.0.1', 0)); update()",
        "server.close(); update()",
    )
    assert told["LISTEN"] == left


def test_one_line_registers_the_states_by_family() -> None:
    """Their sum over both is what an agent with psutil had."""
    with all_states() as expected:
        samples = printed_by(
            block("psutil", "after", "collector").code,
            "import json",
            "families = {family.name: family.samples for family in REGISTRY.collect()}",
            "sockets = families['netlink_safe_tcp_sockets']",
            "print(json.dumps([(sample.labels['state'], sample.value) for sample in sockets]))",
        )
    summed = dict.fromkeys((state for state, _ in samples), 0)
    for state, count in samples:
        summed[state] += count
    assert {state.upper(): count for state, count in nonzero(summed).items()} == expected


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_sockets_of_a_port_are_counted_alike(when: str) -> None:
    """Those that were accepted there, and no client's."""
    each = block("psutil", when, "port")
    call = f"import json; print(json.dumps({each.function}()))"
    with socket.create_server(("127.0.0.1", 8080)) as server, contextlib.ExitStack() as held:
        for _ in range(3):
            held.enter_context(socket.create_connection(server.getsockname()))
            held.enter_context(server.accept()[0])
        assert printed_by(each.code, call) == 3


def test_psutil_counts_udp_among_the_rest_unless_told_not_to() -> None:
    """In a state that is none."""
    with all_states() as expected:
        found = [connection.status for connection in psutil.net_connections()]
    assert found.count("NONE") == 1
    assert len(found) == sum(expected.values()) + 1


def test_listeners_that_share_a_port_are_one_to_psutil_without_rights() -> None:
    """Where it cannot see whose they are they are alike; sock_diag tells them apart for anybody."""
    without_rights = "import kernel; kernel.drop_all_rights()"
    before, after = (block("psutil", when, "states") for when in ("before", "after"))
    with contextlib.ExitStack() as held:
        port = 0
        for _ in range(3):
            listener = held.enter_context(
                socket.create_server(("127.0.0.1", port), reuse_port=True)
            )
            port = listener.getsockname()[1]
        assert states_of("psutil", before)["LISTEN"] == 3
        assert states_of("psutil", after)["LISTEN"] == 3
        rows = printed_by(
            without_rights,
            "import json, psutil, netlink_safe.blocking as nls",
            "listeners = nls.tcp_sockets(states='listen')",
            "with nls.open_sock_diag() as diag:",
            "    ours = [row.inode for row in diag.dump(listeners)]",
            "theirs = [(row.pid, row.fd) for row in psutil.net_connections('tcp')]",
            "print(json.dumps([ours, theirs]))",
        )
    assert len(set(rows[0])) == 3
    assert rows[1] == [[None, -1]]


@pytest.mark.parametrize("page", ["psutil", "proc_net_tcp"])
def test_proc_net_is_the_main_threads(page: str) -> None:
    """Old code in a thread that is in another namespace counts the wrong one; new code does not."""
    elsewhere = """
import json, kernel, socket
def elsewhere():
    kernel.unshare(kernel.CLONE_NEWNET)
    kernel.set_up_loopback()
    with socket.create_server(("127.0.0.1", 0)):
        FUNCTION()
        return TOLD
print(json.dumps(kernel.in_thread(elsewhere)))
"""
    counted = {}
    with all_states() as expected:
        for when in ("before", "after"):
            each = block(page, when, "states")
            probe = elsewhere.replace("FUNCTION", each.function).replace("TOLD", TOLD[page])
            counted[when] = nonzero(printed_by(each.code, probe))
    assert counted == {"before": expected, "after": {"LISTEN": 1}}


def test_rows_are_the_same_to_pyroute2() -> None:
    """Each listener's accept queue, by its port."""
    with contextlib.ExitStack() as held:
        expected = {}
        for address, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
            listener = socket.create_server((address, 0), family=family, backlog=9)
            held.enter_context(listener)
            held.enter_context(socket.create_connection(listener.getsockname()[:2]))
            expected[str(listener.getsockname()[1])] = [1, 9]
        for when in ("before", "after"):
            each = block("pyroute2", when, "rows")
            call = f"import json; print(json.dumps({each.function}()))"
            assert printed_by(each.code, call) == expected


def test_every_line_of_the_table_of_fields_is_true() -> None:
    """Its expressions give the same of the very same bytes, for a socket in every state."""
    lines = re.findall(r"^\| (`row.*`) \| (`row.*`) \|$", text_of("pyroute2"), re.MULTILINE)
    pairs = [
        (theirs, ours)
        for line in lines
        for theirs, ours in zip(*(re.findall("`(.*?)`", part) for part in line), strict=True)
    ]
    assert len(pairs) == 18
    seen: dict[str, set[object]] = {ours: set() for _, ours in pairs}
    with all_states(), nls.open_sock_diag() as diag:
        for row in diag.dump(nls.tcp_sockets(extensions="info")):
            row.detach()
            (parsed,) = MarshalDiag().parse(row._data)
            for theirs, ours in pairs:
                if "info" in ours and row.info is None:
                    continue  # of a request, or a remainder
                value = eval(ours, {"row": row})  # noqa: S307
                assert eval(theirs, {"row": parsed}) == value, (theirs, ours)  # noqa: S307
                seen[ours].add(value)
    constant = {ours for ours, values in seen.items() if len(values) == 1}
    assert constant <= {"row.interface", "row.retransmits", "row.uid", "row.info.total_retrans"}


def test_a_refusal_is_an_empty_tuple_to_pyroute2() -> None:
    """No kernel has protocol 254, and here is how it would be to have no tcp_diag."""
    with DiagSocket() as diag:
        diag.bind()
        assert diag.get_sock_stats(family=socket.AF_INET, protocol=254) == ()


@pytest.mark.parametrize("page", ["psutil", "pyroute2", "proc_net_tcp"])
def test_the_new_code_raises_at_its_deadline(page: str) -> None:
    """Whatever becomes of the dump's end; and asks again before."""
    each = block(page, "after", "states")
    told = printed_by(
        LOSES_THE_END,
        in_short(each),
        "import json, time, netlink_safe.blocking as nls",
        "began = time.monotonic()",
        "try:",
        f"    {each.function}()",
        "except nls.NetlinkTimeout as error:",
        "    print(json.dumps([time.monotonic() - began, error.attempts]))",
    )
    assert 0.5 <= told[0] < 5
    assert told[1] > 1


@pytest.mark.parametrize("name", ["states", "rows"])
def test_the_code_of_pyroute2_waits_for_ever(name: str) -> None:
    """It has asked, the end of the answer does not come, and nothing ends it but a signal."""
    each = block("pyroute2", "before", name)
    command = command_of(
        LOSES_THE_END_OF_PYROUTE2,
        each.code,
        "print('asks', flush=True)",
        f"{each.function}()",
        "print('ended', flush=True)",
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as program:
        assert program.stdout is not None
        try:
            assert program.stdout.readline() == "asks\n"
            with pytest.raises(subprocess.TimeoutExpired):
                program.wait(SEEN_WAITING)
        finally:
            program.kill()
        assert program.stdout.read() == ""


def test_a_scrape_says_that_it_failed_and_repeats_nothing() -> None:
    """The line that registers the collector, its dump's end lost, and then no more."""
    told = printed_by(
        "import faults, io, json, logging",
        "logging.basicConfig(stream=(log := io.StringIO()))",
        in_short(block("psutil", "after", "collector")),
        "def scraped():",
        "    families = {family.name: family.samples for family in REGISTRY.collect()}",
        "    success = families['netlink_safe_collector_success'][0].value",
        "    return [success, 'netlink_safe_tcp_sockets' in families]",
        f"with faults.filtered(faults.losing({NLMSG_DONE})):",
        "    lost = scraped()",
        "print(json.dumps([lost, scraped(), log.getvalue()]))",
    )
    assert told[:2] == [[0, False], [1, True]]
    assert told[2].count("no end to the reply to the dump") == 1


def test_opentelemetry_leaves_out_one_collection_and_goes_on() -> None:
    """The other instruments are exported all the same, and the next collection has all."""
    with all_states() as expected:
        told = printed_by(
            BEFORE_IT["opentelemetry"],
            "import faults, json, logging",
            "logging.disable()",
            in_short(block("opentelemetry", "after", "states")),
            "other = lambda options: [Observation(1)]",
            "metrics.get_meter('agent').create_observable_gauge('other', [other])",
            f"with faults.filtered(faults.losing({NLMSG_DONE})):",
            "    lost = exported()",
            "print(json.dumps([lost, exported()]))",
        )
    assert list(told[0]) == ["other"]
    assert nonzero(told[1]["tcp.sockets"]) == expected


@pytest.mark.parametrize(("when", "left"), [("before", {}), ("after", {"LISTEN": 0})])
def test_an_observable_gauge_forgets(when: str, left: dict[str, int]) -> None:
    """What was not observed is not exported, whatever it was before."""
    told = states_of(
        "opentelemetry",
        block("opentelemetry", when, "states"),
        "import socket",
        "with socket.create_server(('127.0.0.1', 0)):",
        "    assert exported()['tcp.sockets']['LISTEN'] == 1",
        "def exported(exported=exported):",
        "    return {'tcp.sockets': {}} | exported()",
    )
    assert {state: count for state, count in told.items() if state == "LISTEN"} == left


def test_connections_that_wait_are_no_bytes() -> None:
    """The sum of all lines has them among the bytes received; the rest of both sums is equal."""
    with contextlib.ExitStack() as held:
        server = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=7))
        client = held.enter_context(socket.create_connection(server.getsockname()))
        accepted = held.enter_context(server.accept()[0])
        client.sendall(b"unread")
        kernel.until(lambda: len(accepted.recv(100, socket.MSG_PEEK)) == 6)
        for _ in range(3):
            held.enter_context(socket.create_connection(server.getsockname()))
        counted = {}
        for when in ("before", "after"):
            each = block("proc_net_tcp", when, "queues")
            call = f"import json; print(json.dumps({each.function}()))"
            counted[when] = printed_by(each.code, call)
        stats = tcpstat.collect_blocking()
    assert counted == {"before": [6 + 3, 0], "after": [6, 0]}
    assert (stats.accept_queue_length, stats.accept_queue_limit) == (3, 7)


def test_an_unread_end_counts_as_a_byte_to_both() -> None:
    """A FIN, as the kernel numbers it."""
    counted = {}
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        with server.accept()[0]:
            client.shutdown(socket.SHUT_WR)
            tcp_states.until(client, tcp_states.FIN_WAIT2)
            for when in ("before", "after"):
                each = block("proc_net_tcp", when, "queues")
                call = f"import json; print(json.dumps({each.function}()))"
                counted[when] = printed_by(each.code, call)
        client.close()
    assert counted == {"before": [1, 0], "after": [1, 0]}


def test_clients_of_ipv4_may_stand_in_tcp6() -> None:
    """Those of a service that listens on both; who reads tcp alone sees their end of it only."""
    old = block("proc_net_tcp", "before", "states").code
    only_tcp = old.replace('("/proc/net/tcp", "/proc/net/tcp6")', '("/proc/net/tcp",)')
    assert only_tcp != old
    server = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    client = socket.create_connection(("127.0.0.1", server.getsockname()[1]))
    with server, client, server.accept()[0]:
        told = printed_by(only_tcp, "import json; print(json.dumps(tcp_states()))")
        stats = tcpstat.collect_blocking().as_dict()
    assert told == {"ESTABLISHED": 1}
    assert nonzero(stats["families"]["inet6"]) == {"established": 1, "listen": 1}
    assert nonzero(stats["families"]["inet"]) == {"established": 1}
