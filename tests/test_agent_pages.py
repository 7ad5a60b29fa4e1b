"""The pages for agents: their blocks run, and tell of the same sockets what the pages say."""

from __future__ import annotations

import contextlib
import re
import socket
from typing import Final

import psutil
import pytest
from pyroute2.netlink.diag import MarshalDiag

import kernel
import netlink_safe.blocking as nls
import tcp_states
from agent_blocks import BEFORE_IT, PYTHON, TOLD, all_states, printed_by, states_of
from agent_pages import PAGES, Block, block, blocks_of, pages, text_of
from metrics_told import nonzero
from netlink_safe.collectors import tcpstat

STATES: Final = [nls.TcpState(number).name for number in range(1, 13)]


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
