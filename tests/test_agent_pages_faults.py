"""What the old code and the new code of the pages for agents do when a dump loses its end."""

from __future__ import annotations

import socket
import subprocess
from typing import Final

import pytest
from pyroute2 import DiagSocket

from agent_blocks import BEFORE_IT, all_states, command_of, environment, printed_by, states_of
from agent_pages import Block, block
from metrics_told import nonzero
from netlink_safe.wire.constants import NLMSG_DONE

#: Seconds in which a program that waits for ever is seen to do nothing.
SEEN_WAITING: Final = 1.0


#: Takes away the end of every dump that the library asks for.
LOSES_THE_END: Final = f"""
from netlink_safe.testing import faults
losing = faults.lose({NLMSG_DONE})
losing.__enter__()
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


def in_short(each: Block) -> str:
    """The same with a deadline that a test can wait for."""
    assert each.code.count("5.0") == 1
    return each.code.replace("5.0", "0.5")


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
