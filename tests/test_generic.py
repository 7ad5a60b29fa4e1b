"""Generic netlink on the running kernel: families, policies, errors that name what they mean."""

from __future__ import annotations

import errno
import os
import re
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import kernel
import netlink_safe as nls
from codecs_told import plain
from faults import DEAF, filtered, losing, retyped
from links import Links
from netlink_safe import blocking
from netlink_safe.families import ctrl, ethtool, ovs
from netlink_safe.transport.modules import family_alias, module_for
from netlink_safe.wire.attributes import build_attribute, build_nested, build_text
from netlink_safe.wire.constants import NLMSG_DONE
from surfaces import Surface, on_every_surface, taking_at_most

if TYPE_CHECKING:
    from collections.abc import Mapping

LINKINFO = nls.pyroute2_codec("ethtool", 2)


def genl(*words: str) -> str:
    """What iproute2's genl says; it ends with 1 where there is nothing to be said."""
    return subprocess.run(
        ["genl", *words], capture_output=True, text=True, timeout=60, check=False
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


def test_names_are_counted_in_bytes() -> None:
    """As the kernel does; and what is no text is nonsense, not an error of an encoding."""
    for name in ("\u00e4" * 64, "\ud800", "a\0b", ""):
        with pytest.raises(nls.LocalProtocolError, match="device="):
            ethtool.link_info(name)
    for name in ("\u00e4" * 8, "\ud800", "a\0b", ""):
        with pytest.raises(nls.LocalProtocolError, match="name="):
            ovs.vport(name)
    assert ovs.vport("\u00e4" * 7 + "x").attributes
    assert ethtool.link_info("\udcff").attributes


#: What is asked, what the error must say, and the path that it must give.
WRONG: list[tuple[Any, str, tuple[int, ...], str | None]] = [
    (
        ethtool.link_info("nothing"),
        "no device matches name",
        (1, 2),
        "ETHTOOL_A_LINKINFO_HEADER.ETHTOOL_A_HEADER_DEV_NAME",
    ),
    (
        ethtool.rings(4711),
        "no device matches ifindex",
        (1, 1),
        "ETHTOOL_A_RINGS_HEADER.ETHTOOL_A_HEADER_DEV_INDEX",
    ),
    (nls.generic_request("ethtool", 2, {99: b"1234"}), "Unknown attribute type", (99,), "99"),
    (nls.generic_request("ethtool", 2, {1: {1: b"12"}}), "invalid attribute len", (1, 1), "1.1"),
    (nls.generic_request("ethtool", 2, {1: {77: b"1234"}}), "Unknown attribute", (1, 77), "1.77"),
    (nls.generic_request("ethtool", 2, {1: {3: struct.pack("=I", 64)}}), "reserved", (1, 3), "1.3"),
    (nls.generic_request("nlctrl", 3, {2: b"x" * 30 + b"\0"}), "attribute 2", (2,), "2"),
    (nls.generic_request("nlctrl", 3, {2: b"unterminated"}), "attribute 2", (2,), "2"),
    (
        nls.coded_request(
            "ethtool",
            2,
            {"ETHTOOL_A_LINKINFO_HEADER": {"attrs": [("ETHTOOL_A_HEADER_DEV_NAME", "nothing")]}},
            codec=LINKINFO,
        ),
        "no device matches name",
        (1, 2),
        "ETHTOOL_A_LINKINFO_HEADER.ETHTOOL_A_HEADER_DEV_NAME",
    ),
]
if kernel.release() >= (6, 3):  # the first with the family netdev
    WRONG += [
        (nls.generic_request("netdev", 1, {1: struct.pack("=I", 0)}), "out of range", (1,), "1"),
        (nls.generic_request("netdev", 1), "attribute 1 is missing", (1,), "1"),
    ]


@pytest.mark.parametrize("number", range(len(WRONG)))
@on_every_surface
async def test_an_error_names_the_attribute_that_the_kernel_means(
    surface: Surface, number: int
) -> None:
    """By the names of whoever knows them, and by number where nobody does."""
    request, text, path, attribute = WRONG[number]
    async with surface.open_generic() as opened:
        with pytest.raises(nls.KernelError, match=text) as refused:
            await opened.request(request)
        assert refused.value.path == path
        assert refused.value.attribute == attribute
        assert attribute is None or attribute in str(refused.value)
        await opened.family("nlctrl")


@on_every_surface
async def test_an_error_about_links_names_its_attribute(surface: Surface) -> None:
    """rtnetlink's extended acks are read in the same way."""
    with Links() as links:
        links.make("left", "right")
    order = nls.set_link("left", is_up=False)
    short = attrs.evolve(order, payload=order.payload + build_attribute(4, b"12"))
    async with surface.open_route() as route:
        with pytest.raises(nls.KernelError, match="mtu less than device minimum"):
            await route.request(nls.set_link("left", mtu=10))
        with pytest.raises(nls.KernelError, match="attribute IFLA_MTU") as refused:
            await route.request(short)
        assert (refused.value.path, refused.value.attribute) == ((4,), "IFLA_MTU")
        with pytest.raises(nls.KernelError, match="ENODEV"):
            await route.request(nls.link("nothing"))


def test_a_name_that_a_codec_does_not_know_is_refused_wherever_it_stands() -> None:
    """Inside a list of nests, too; pyroute2 would leave it out."""
    codec = nls.pyroute2_codec("wireguard")
    network = {"attrs": [("WGALLOWEDIP_A_FAMILY", 2), ("WGALLOWEDIP_A_NONE", 1)]}
    peer = {"attrs": [("WGPEER_A_ALLOWEDIPS", [network])]}
    with pytest.raises(
        nls.LocalProtocolError,
        match=r"WGDEVICE_A_PEERS\.WGPEER_A_ALLOWEDIPS\.WGALLOWEDIP_A_NONE",
    ):
        nls.coded_request("wireguard", 1, {"WGDEVICE_A_PEERS": [peer]}, codec=codec)


@on_every_surface
async def test_a_policy_of_what_is_no_operation_is_not_supported(surface: Surface) -> None:
    """And one of an operation shows its attributes, those of its own level."""
    async with surface.open_generic() as opened:
        with pytest.raises(nls.NotSupported, match="support operation 77 of nlctrl") as refused:
            await opened.policy("nlctrl", 77)
        assert (refused.value.errno, refused.value.feature) == (95, "operation 77 of nlctrl")
        family = await opened.family("nlctrl")
        with pytest.raises(nls.NotSupported):
            await family.policy(77)
        told = repr(await opened.policy("ethtool", 2))
        assert told.startswith("OperationPolicy(do=Policy({1: {'kind': 'nested', 'policy': ")


def test_a_codec_of_each_command_is_asked_for_by_command() -> None:
    """The error says which there are; a family of one codec needs no command."""
    for command, asked in ((None, "ethtool without a command"), (3, "ethtool, command 3")):
        with pytest.raises(nls.LocalProtocolError, match=asked) as refused:
            nls.pyroute2_codec("ethtool", command)
        assert str(refused.value).endswith("one for each of the commands 1, 2, 4, 6, 9, 15, 31")
    with pytest.raises(nls.LocalProtocolError, match="known for nothing; known are IPVS, TASK"):
        nls.pyroute2_codec("nothing")


def test_a_header_that_is_no_bytes_is_refused() -> None:
    """When it is said, and not when it is sent."""
    with pytest.raises(nls.LocalProtocolError, match="header='x' is no bytes"):
        nls.generic_request("ethtool", 2, header="x")  # type: ignore[arg-type]


#: What is refused before the kernel is asked, and what it says.
NONSENSE: list[tuple[Any, str]] = [
    (nls.generic_request("ethtool", 2, {1: {2: "x" * 128}}), "attribute 1.2: 128 bytes are more"),
    (nls.generic_request("ethtool", 2, {1: {1: 1 << 32}}), "attribute 1.1: 4294967296 is above"),
    (nls.generic_request("ethtool", 2, {1: {1: -1}}), "attribute 1.1: -1 is below"),
    (nls.generic_request("ethtool", 2, {1: {1: "lo"}}), "'lo' is given where u32 is wanted"),
    (nls.generic_request("ethtool", 2, {1: {3: 1 << 30}}), "has bits beside"),
    (nls.generic_request("ethtool", 2, {1: 5}), "5 is given where nested is wanted"),
    (nls.generic_request("ethtool", 2, {99: 5}), "does not say how wide"),
    (nls.generic_request("ethtool", 2, {1 << 15: b""}), "no number from 1 to 16383"),
    (nls.generic_request("ethtool", 2, {1: b"x" * 70_000}), "more than an attribute holds"),
    (nls.generic_request("ethtool", 2, header=b"1234"), "the header of ethtool has 0 bytes, not 4"),
]
if kernel.release() >= (6, 3):
    NONSENSE += [(nls.generic_request("netdev", 1, {1: 0}), "attribute 1: 0 is below the 1")]


@on_every_surface
async def test_what_is_no_request_or_no_table_is_refused(surface: Surface) -> None:
    """A question about one device is none: in a dump the kernel would not look at which."""
    async with surface.open_generic() as opened:
        for no_request in (None, "ethtool", nls.links(), nls.tcp_sockets()):
            with pytest.raises(nls.LocalProtocolError, match="no request to a generic family"):
                await opened.request(no_request)
            with pytest.raises(nls.LocalProtocolError, match="no request to a generic family"):
                opened.dump(no_request)
        for one in (ethtool.link_info("lo"), ovs.datapath(1), ovs.vport("lo"), ovs.vport("lo", 1)):
            with pytest.raises(nls.LocalProtocolError, match="is about one thing; give it to req"):
                opened.dump(one)
    assert not any(one.of_one for one in (ethtool.rings(), ovs.datapaths(), ovs.vports(1)))


@pytest.mark.parametrize("number", range(len(NONSENSE)))
@on_every_surface
async def test_values_that_the_policy_does_not_take_are_refused_before(
    surface: Surface, number: int
) -> None:
    """The error names the attribute, and says what would do."""
    request, text = NONSENSE[number]
    async with surface.open_generic() as opened:
        with pytest.raises(nls.LocalProtocolError, match=text):
            await opened.request(request)


@on_every_surface
async def test_a_request_that_is_too_large_says_how_large_it_is(surface: Surface) -> None:
    """It is refused at once, whatever it was to be."""
    attributes = b"".join(build_attribute(1, bytes(60_000)) for _ in range(5))
    async with surface.open_generic() as opened:
        with pytest.raises(nls.LocalProtocolError, match="a request of 300040 bytes is larger tha"):
            await opened.request(nls.generic_request("ethtool", 2, attributes))
        assert await opened.families()


def nest(depth: int) -> dict[int, Any]:
    """Attributes so deep."""
    values: dict[int, Any] = {2: b"x"}
    for _ in range(depth):
        values = {1: values}
    return values


@on_every_surface
async def test_what_is_nested_too_deep_is_refused(surface: Surface) -> None:
    """A thousand levels in plain values; and as bytes, by the kernel."""
    async with surface.open_generic() as opened:
        with pytest.raises(nls.LocalProtocolError, match="32 deep"):
            await opened.request(nls.generic_request("ethtool", 2, nest(1000)))
        deep = b""
        for _ in range(1000):
            deep = build_nested(1, deep)
        with pytest.raises(nls.KernelError, match="EINVAL"):
            await opened.request(nls.generic_request("ethtool", 2, deep))
        false = build_attribute(1 | 0x8000, struct.pack("=HH", 400, 2) + b"lo\0\0")
        with pytest.raises(nls.KernelError, match="EINVAL"):
            await opened.request(nls.generic_request("ethtool", 2, false))


@on_every_surface
async def test_an_unknown_family_is_an_error_by_its_name(surface: Surface) -> None:
    """And says whether a module could help."""
    async with surface.open_generic() as opened:
        for asked in (
            opened.family("nothing"),
            opened.policy("nothing", 1),
            opened.policies("nothing"),
            opened.request(nls.generic_request("nothing", 1)),
        ):
            with pytest.raises(nls.FamilyNotFound, match="family 'nothing' here: ") as missing:
                await asked
            assert missing.value.family == "nothing"
            assert missing.value.module_alias == "net-pf-16-proto-16-family-nothing"
            assert missing.value.module is None
        for name in ("", "x" * 16, "\u00e4" * 8, "\ud800", None, 5, "a\0b"):
            with pytest.raises(nls.LocalProtocolError, match="family="):
                await opened.family(name)
        with pytest.raises(nls.NotSupported, match="operation 200 of ethtool as a request"):
            await opened.request(nls.generic_request("ethtool", 200))
        with pytest.raises(nls.NotSupported, match="operation 3 of ethtool as a dump"):
            async for _ in opened.dump(nls.generic_request("ethtool", 3)):
                pass


def test_a_module_is_found_by_its_alias(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As depmod lists them; dashes and underscores are the same."""
    file = tmp_path / "modules.alias"
    file.write_text(
        "# Aliases\n"
        "alias fs-nothing other\n"
        "alias net-pf-16-proto-16-family-ovs_vport openvswitch\n"
        "alias net_pf_16_proto_16_family_nl80211 cfg80211\n"
    )
    monkeypatch.setattr("netlink_safe.transport.modules.ALIASES", str(file))
    assert module_for(family_alias("ovs_vport")) == "openvswitch"
    assert module_for(family_alias("nl80211")) == "cfg80211"
    assert module_for(family_alias("nothing")) is None
    error = nls.FamilyNotFound("ovs_vport", family_alias("ovs_vport"), "openvswitch")
    assert "try: modprobe openvswitch" in str(error)
    with blocking.open_generic() as opened:
        with pytest.raises(nls.FamilyNotFound, match="no installed module has the alias"):
            opened.family("nothing")
        monkeypatch.setattr("netlink_safe.transport.modules.ALIASES", str(tmp_path / "none"))
        assert module_for(family_alias("ovs_vport")) is None
        with pytest.raises(nls.FamilyNotFound, match="is not to be seen") as missing:
            opened.family("nothing")
        assert (missing.value.module, missing.value.is_module_known) == (None, False)


@on_every_surface
async def test_a_family_that_has_another_number_is_asked_again(surface: Surface) -> None:
    """As after its module went and came back: the request that nobody had is made once more."""
    async with surface.open_generic() as opened:
        await opened.family("ethtool")
        known = opened._families._known
        known["ethtool"] = attrs.evolve(known["ethtool"], id=1000)
        assert (await opened.request(ethtool.link_state("lo"))).is_up is True
        assert known["ethtool"].id != 1000
        known["ethtool"] = attrs.evolve(known["ethtool"], id=16)
        rows = [row async for row in opened.dump(ethtool.link_state())]
        assert [row.device.name for row in rows] == ["lo"]
        known["ethtool"] = attrs.evolve(known["ethtool"], id=1000)
        assert (await opened.policy("ethtool", 6)).do is not None
        reply = await opened.request(nls.generic_request("ethtool", 6, {1: {2: "lo"}}))
        assert reply.values[2] == b"\1"
        for asked in (
            opened.policy("nothing", 1),
            opened.request(nls.generic_request("nothing", 1)),
        ):
            known["nothing"] = attrs.evolve(known["ethtool"], name="nothing", id=1000)
            opened._families._policies["nothing", 1000, 2] = nls.OperationPolicy()
            with pytest.raises(nls.FamilyNotFound):
                await asked
            assert not [key for key in opened._families._policies if key[0] == "nothing"]


def families_read(command: int, *, is_idempotent: bool, attributes: bytes = b"") -> Any:
    """A request for families whose rows are read strictly."""
    return nls.GenericRequest(
        name="families",
        family="nlctrl",
        command=command,
        attributes=attributes,
        read=lambda message, _: ctrl.parse_family(message),
        idempotent=is_idempotent,
    )


@on_every_surface
async def test_a_number_that_another_family_has_is_asked_for_again(surface: Surface) -> None:
    """Whatever that one answers; an order only where it was refused."""
    endpoint = nls.generic_request("mptcp_pm", 1, {1: {1: 2, 2: 7, 3: bytes((127, 0, 0, 1))}})
    named = build_text(ctrl.FAMILY_NAME, "nlctrl")
    async with surface.open_generic() as opened:
        await opened.request(endpoint)
        right = await opened.family("nlctrl")
        other = await opened.family("mptcp_pm")
        known = opened._families._known
        wrong = attrs.evolve(known["nlctrl"], id=other.id)

        with pytest.raises(nls.KernelError, match="EINVAL"):  # and so it answers what is no address
            await opened.request(attrs.evolve(endpoint, command=3, attributes=named))
        known["nlctrl"] = wrong
        refused = families_read(3, is_idempotent=False, attributes=named)
        assert (await opened.request(refused)).id == right.id
        assert known["nlctrl"].id == right.id

        known["nlctrl"] = wrong
        dump = opened.dump(families_read(3, is_idempotent=True))
        assert {row.name for row in [row async for row in dump]} >= {"nlctrl", "ethtool"}

        known["nlctrl"] = wrong
        inside = build_nested(
            1,
            build_attribute(1, b"\2\0"),
            build_attribute(2, b"\7"),
            build_attribute(3, bytes((127, 0, 0, 1))),
        )
        with pytest.raises(nls.DecodeError, match="without a name"):
            await opened.request(families_read(3, is_idempotent=False, attributes=inside))
        assert known["nlctrl"].id == right.id


@on_every_surface
async def test_an_error_costs_one_look_at_the_number_and_no_more(surface: Surface) -> None:
    """And none where it was only just looked up."""
    async with surface.open_generic() as opened:
        for lookups in (1, 1):
            before = opened.statistics().attempts
            with pytest.raises(nls.KernelError, match="ENODEV"):
                await opened.request(ethtool.link_info("nothing"))
            assert opened.statistics().attempts - before == 1 + lookups


@on_every_surface
async def test_a_reply_of_another_family_is_refused(surface: Surface) -> None:
    """Request and dump: the error names both numbers, and the next question is answered."""
    async with surface.open_generic() as opened:
        number = (await opened.family("ethtool")).id
        text = f"a message of type {number + 1} in a reply of type {number}"
        with retyped(number, number + 1):
            with pytest.raises(nls.DecodeError, match=text):
                await opened.request(ethtool.link_state("lo"))
            with pytest.raises(nls.DecodeError, match=text):
                async for _ in opened.dump(ethtool.link_state()):
                    pass
        assert (await opened.request(ethtool.link_state("lo"))).is_up is True


@on_every_surface
async def test_a_lost_reply_is_asked_for_again(surface: Surface) -> None:
    """A question goes out once more on a fresh socket, if its first one was deaf."""
    with filtered(DEAF, sockets=1):
        async with surface.open_generic(timeout=2.0) as opened:
            assert (await opened.request(ethtool.link_state("lo"))).is_up is True
            assert opened.statistics().retries == 1


@on_every_surface
async def test_a_dump_without_an_end_ends_at_its_deadline(surface: Surface) -> None:
    """And so does every other verb, of a kernel that never answers."""
    request = nls.generic_request("nlctrl", 3)
    with filtered(losing(NLMSG_DONE)):
        async with surface.open_generic(timeout=0.3) as opened:
            with taking_at_most(10), pytest.raises(nls.NetlinkTimeout) as late:
                async for _ in opened.dump(request):
                    pass
            assert late.value.outcome == "none"
    with filtered(DEAF):
        async with surface.open_generic(timeout=0.1) as opened:
            for asked in (
                opened.family("nlctrl"),
                opened.families(),
                opened.policies("nlctrl"),
                opened.policy("nlctrl", 3),
                opened.request(request),
            ):
                with taking_at_most(10), pytest.raises(nls.NetlinkTimeout):
                    await asked
    async with surface.open_generic() as opened:
        assert await opened.families()


@on_every_surface
async def test_an_order_that_lost_its_answer_may_have_been_carried_out(surface: Surface) -> None:
    """It is not made again, and the error says so."""
    with Links() as links:
        links.make("left", "right")
    order = attrs.evolve(nls.generic_request("ethtool", 18), wants_policy=False)
    async with surface.open_generic(timeout=0.3) as opened:
        await opened.family("ethtool")
        opened._pool._close_idle()
        with filtered(DEAF), pytest.raises(nls.NetlinkTimeout) as late:
            await opened.request(
                attrs.evolve(order, wants_policy=False, attributes=b"\x08\0\1\x80")
            )
        assert late.value.outcome == "unknown"
        assert late.value.attempts == 1


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
