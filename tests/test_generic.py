"""Generic netlink on the real kernel, beside what genl, ip and pyroute2 say."""

from __future__ import annotations

import errno
import os
import re
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import kernel
import netlink_safe as nls
from codecs_told import plain
from debian_peers import iproute2
from links import Links
from netlink_safe.families import ctrl, ethtool
from surfaces import Surface, on_every_surface

if TYPE_CHECKING:
    from collections.abc import Mapping


def genl(*words: str) -> str:
    """What iproute2's genl says; it ends with 1 where there is nothing to be said."""
    return subprocess.run(
        [iproute2("genl"), *words], capture_output=True, text=True, timeout=60, check=False
    ).stdout


def listed(text: str) -> dict[str, dict[str, Any]]:
    """The families that ``genl ctrl list`` printed."""
    found = {}
    for block in re.split(r"^\s*Name: ", text, flags=re.MULTILINE)[1:]:
        name, rest = block.split("\n", 1)
        numbers = re.search(
            r"ID: (\w+)\s+Version: (\w+)\s+header size: (\d+)\s+max attribs: (\d+)", rest
        )
        assert numbers is not None
        commands, _, groups = rest.partition("multicast groups:")
        found[name.strip()] = {
            "id": int(numbers[1], 16),
            "version": int(numbers[2], 16),
            "header_size": int(numbers[3]),
            "max_attribute": int(numbers[4]),
            "operations": {
                int(command, 16): int(flags, 16) if flags else None
                for command, flags in re.findall(
                    r"ID-(\w+)\s+(?:Capabilities \((\w+)\))?", commands
                )
            },
            "groups": {
                name: int(number, 16)
                for number, name in re.findall(r"ID-(\w+)\s+name: (\S+)", groups)
            },
        }
    return found


def flags_of(operation: nls.Operation) -> int:
    """An operation's abilities, as the kernel's bits."""
    return (
        (ctrl.UNS_ADMIN_PERM if operation.needs_admin_here else 0)
        or (ctrl.ADMIN_PERM if operation.needs_admin else 0)
    ) | (
        (ctrl.CAP_DO * operation.can_do)
        | (ctrl.CAP_DUMP * operation.can_dump)
        | (ctrl.CAP_HASPOL * operation.has_policy)
    )


@on_every_surface
async def test_every_family_is_listed_as_genl_lists_it(surface: Surface) -> None:
    """Numbers, versions, sizes, operations with their abilities, and groups."""
    async with surface.open_generic() as opened:
        found = {family.name: family for family in await opened.families()}
        assert len(found) >= 3
        expected = listed(genl("ctrl", "list"))
        assert found.keys() == expected.keys()
        for name, family in found.items():
            told = expected[name]
            assert family.id == told["id"]
            assert family.version == told["version"]
            assert family.header_size == told["header_size"]
            assert family.max_attribute == told["max_attribute"]
            assert {one.command for one in family.operations} == told["operations"].keys()
            for operation in family.operations:  # genl tells abilities of some families alone
                assert told["operations"][operation.command] in {None, flags_of(operation)}
            assert dict(family.groups) == told["groups"]
            again = await opened.family(name)
            assert (again.id, again.operations) == (family.id, family.operations)


#: How genl spells kinds; those that are younger than it are unknown to it.
SPELLED = {"uint": "unknown", "sint": "unknown"}


def spelled(policies: Mapping[int, nls.OperationPolicy]) -> set[str]:
    """Policies as genl prints them, a line each."""
    lines = set()
    for command, operation in policies.items():
        pairs = (("do", operation.do), ("dump", operation.dump))
        words = [f"{name}={policy.index}" for name, policy in pairs if policy is not None]
        lines.add(f"op {command} policies: {' '.join(words)}")
    for policy in all_of(policies):
        for type_, one in policy.items():
            kind = str(one.kind)
            line = f"policy[{policy.index}]:attr[{type_}]: type={SPELLED.get(kind, kind.upper())}"
            if one.policy is not None:
                line += f" policy:{one.policy} maxattr:{one.maximum_type}"
            if one.minimum is not None:
                line += f" range:[{one.minimum},{one.maximum}]"
            if one.minimum_length is not None:
                line += f" min len:{one.minimum_length}"
            if one.maximum_length is not None:
                line += f" max len:{one.maximum_length}"
            lines.add(line)
    return lines


def all_of(policies: Mapping[int, nls.OperationPolicy]) -> list[nls.Policy]:
    """Every policy that can be reached, once."""
    reached: dict[int, nls.Policy] = {}
    waiting = [one for pair in policies.values() for one in (pair.do, pair.dump) if one is not None]
    while waiting:
        policy = waiting.pop()
        if policy.index not in reached:
            reached[policy.index] = policy
            waiting += [inside for type_ in policy if (inside := policy.nested(type_)) is not None]
    return list(reached.values())


def anywhere(lines: set[str]) -> set[str]:
    """The same lines, whatever the number of an operation and wherever a policy stands."""
    return {re.sub(r"op \d+|policy\[\d+\]|policy:\d+|=\d+", "", line) for line in lines}


@on_every_surface
async def test_every_policy_is_what_genl_says(surface: Surface) -> None:
    """Kinds, bounds, lengths and nesting, of every operation of every family."""
    compared = 0
    async with surface.open_generic() as opened:
        for family in await opened.families():
            expected = {
                " ".join(line.split()).split(" ", 2)[2]
                for line in genl("ctrl", "policy", "name", family.name).splitlines()
                if line.startswith("\t")
            }
            policies = await opened.policies(family.name)
            # Newer kernels say 0 of what is only dumped, so that and 0 itself are asked apart.
            is_apart = {
                command for command, one in policies.items() if one.do is None or not command
            }
            ours = spelled({command: policies[command] for command in policies.keys() - is_apart})
            assert ours <= expected, family.name
            apart = set().union(*(spelled({command: policies[command]}) for command in is_apart))
            assert anywhere(expected) == anywhere(ours | apart), family.name
            compared += len(expected)
            for command in policies:
                alone = await family.policy(command)
                assert (alone.do is None) == (policies[command].do is None)
                if alone.do is not None:
                    assert dict(alone.do).keys() == dict(policies[command].do).keys()
    assert compared > 100


@on_every_surface
async def test_a_device_is_described_as_ip_and_sysfs_do(surface: Surface) -> None:
    """Typed families: link info, link state, channels, one device and all of them."""
    with Links() as links:
        links.make("left", "right")
    async with surface.open_generic() as opened:
        info = await opened.request(ethtool.link_info("left"))
        assert info.device.name == "left"
        state = await opened.request(ethtool.link_state(info.device.index))
        assert state.device == info.device
        assert state.is_up is False
        assert (await opened.request(ethtool.link_state("lo"))).is_up is True
        channels = await opened.request(ethtool.channels("left"))
        assert (channels.receive, channels.transmit) == (1, 1)
        rows = [row async for row in opened.dump(ethtool.link_state())]
        assert {row.device.name for row in rows} == {"lo", "left", "right"}
        distinct = [row async for row in opened.dump(ethtool.link_state(), distinct=True)]
        assert len(distinct) == 3


@on_every_surface
async def test_plain_values_go_out_and_come_back(surface: Surface) -> None:
    """Typed by the kernel's own policy, where nobody has described a family."""
    async with surface.open_generic() as opened:
        reply = await opened.request(nls.generic_request("ethtool", 6, {1: {2: "lo"}}))
        assert reply.values[1] == {1: 1, 2: "lo"}
        assert reply.values[2] == b"\1"
        rows = [row async for row in opened.dump(nls.generic_request("nlctrl", 3))]
        assert {row.values[2] for row in rows} == {one.name for one in await opened.families()}


@on_every_surface
async def test_an_answer_that_does_not_fit_the_requests_policy_is_bytes(surface: Surface) -> None:
    """TASKSTATS_TYPE_AGGR_PID has the number of what is a text in a request."""
    question = nls.generic_request("TASKSTATS", 1, {1: os.getpid()})
    async with surface.open_generic() as opened:
        if not kernel.is_root_of_the_machine():
            with pytest.raises(nls.KernelError, match="EPERM"):
                await opened.request(question)
            return
        reply = await opened.request(question)
        assert reply.values.keys() == {4}
        assert reply.values[4].startswith(struct.pack("=HHI", 8, 1, os.getpid()))


@on_every_surface
async def test_the_answers_are_those_of_pyroute2(surface: Surface) -> None:
    """Four families of this kernel, by its codecs: carried by us, and by its own sockets."""
    with Links() as links:
        links.make("left", "right")
    theirs = kernel.in_thread(told_by_pyroute2)
    device = {"attrs": [("ETHTOOL_A_HEADER_DEV_NAME", "left")]}
    me = {"TASKSTATS_CMD_ATTR_PID": os.getpid()}

    def coded(family: str, command: int, attributes: Any = ()) -> Any:
        codec = nls.pyroute2_codec(family, command)
        reply = nls.pyroute2_codec(family, command, reply=True)
        return nls.coded_request(family, command, attributes, codec=codec, reply=reply)

    async with surface.open_generic() as opened:
        named = {"CTRL_ATTR_FAMILY_NAME": "ethtool"}
        info = {"ETHTOOL_A_LINKINFO_HEADER": device}
        state = {"ETHTOOL_A_LINKSTATE_HEADER": device}
        ours = {
            "nlctrl": plain(await opened.request(coded("nlctrl", 3, named))),
            "link info": plain(await opened.request(coded("ethtool", 2, info))),
            "link state": plain(await opened.request(coded("ethtool", 6, state))),
            "endpoints": [plain(row) async for row in opened.dump(coded("mptcp_pm", 3))],
        }
        try:
            ours["statistics"] = lasting(await opened.request(coded("TASKSTATS", 1, me)))
        except nls.KernelError as error:
            ours["statistics"] = error.errno
    assert ours == theirs
    assert kernel.is_root_of_the_machine() or ours["statistics"] == errno.EPERM


def told_by_pyroute2() -> dict[str, Any]:
    """The same questions by pyroute2's own sockets, one of which adds an endpoint first."""
    from pyroute2 import MPTCP, TaskStats
    from pyroute2.netlink import ctrlmsg
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.netlink.generic import GenericNetlinkSocket
    from pyroute2.netlink.generic.ethtool import NlEthtool

    answers: dict[str, Any] = {}
    with GenericNetlinkSocket() as sock:
        sock.bind("nlctrl", ctrlmsg)
        answers["nlctrl"] = plain(sock.discovery("ethtool"))
    with NlEthtool() as sock:
        (info,), (state,) = sock.get_linkinfo("left"), sock.get_linkstate("left")
        answers["link info"], answers["link state"] = plain(info), plain(state)
    with TaskStats() as sock:
        sock.bind()
        try:
            answers["statistics"] = lasting(sock.get_pid_stat(os.getpid())[0])
        except NetlinkError as error:
            answers["statistics"] = error.code
    with MPTCP() as sock:
        sock.endpoint("add", addr="127.0.0.1")
        answers["endpoints"] = list(map(plain, sock.endpoint("show")))
    return answers


def lasting(message: Any) -> dict[str, Any]:
    """What of a process's statistics is the same at the next look."""
    said = message.get_attr("TASKSTATS_TYPE_AGGR_PID").get_attr("TASKSTATS_TYPE_STATS")
    return {name: said[name] for name in ("version", "ac_pid", "ac_ppid", "ac_uid", "ac_comm")}
