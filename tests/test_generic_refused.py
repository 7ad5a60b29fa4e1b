"""Generic requests that are wrong: which are refused, by whom, and which attribute is named."""

from __future__ import annotations

import struct
from typing import Any

import attrs
import pytest

import kernel
import netlink_safe as nls
from links import Links
from netlink_safe.families import ethtool, ovs
from netlink_safe.wire.attributes import build_attribute, build_nested
from surfaces import Surface, on_every_surface

LINKINFO = nls.pyroute2_codec("ethtool", 2)


@pytest.mark.anywhere
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


@pytest.mark.anywhere
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


@pytest.mark.anywhere
def test_a_codec_of_each_command_is_asked_for_by_command() -> None:
    """The error says which there are; a family of one codec needs no command."""
    for command, asked in ((None, "ethtool without a command"), (3, "ethtool, command 3")):
        with pytest.raises(nls.LocalProtocolError, match=asked) as refused:
            nls.pyroute2_codec("ethtool", command)
        assert str(refused.value).endswith("one for each of the commands 1, 2, 4, 6, 9, 15, 31")
    with pytest.raises(nls.LocalProtocolError, match="known for nothing; known are IPVS, TASK"):
        nls.pyroute2_codec("nothing")


@pytest.mark.anywhere
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
