"""What a subscription cannot read, does not believe, and cannot be."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs
import pytest

import kernel
import netlink_safe as nls
from faults import spoof_multicast
from links import Links
from netlink_safe.families import ethtool
from netlink_safe.families.generic import following
from subscribed import CAME, DEVICES, all_queued, devices, heard_by, index_of, there, until_whole
from surfaces import Surface, on_every_surface

MGMT = following("netdev", ["mgmt"])


pytestmark = pytest.mark.skipif(
    kernel.release() < (6, 3), reason="the family netdev came with Linux 6.3"
)


class Unreadable:
    """A message of a codec that can read nothing."""

    def __init__(self, data: object = None) -> None:
        pass

    def __setitem__(self, name: str, value: object) -> None:
        pass

    def encode(self) -> None:
        pass

    def decode(self) -> None:
        raise KeyError("nothing")


@on_every_surface
async def test_what_a_codec_cannot_read_is_handed_out_plainly(surface: Surface) -> None:
    """A family may tell more than one codec knows, and nothing of it is lost."""
    async with surface.open_generic() as genl, genl.subscribe("netdev", codec=Unreadable) as heard:
        with Links() as links:
            links.make("left", "right")
        told = await heard.receive()
        assert isinstance(told, nls.GenericReply)
        assert told.command == 2
        assert heard.statistics().rejected == {}


@on_every_surface
async def test_a_listener_that_heard_nothing_says_so(surface: Surface) -> None:
    """What the opening asked, and what came before, is no part of a wait."""
    async with surface.open_generic() as genl, genl.subscribe("netdev") as heard:
        with pytest.raises(nls.NetlinkTimeout) as late:
            await heard.receive(timeout=0.01)
        assert late.value.datagrams == 0
        assert str(late.value).endswith("within 0.01 s")
        with Links() as links:
            links.make("left", "right")
        assert len(await all_queued(heard)) >= 2
        with pytest.raises(nls.NetlinkTimeout) as late:
            await heard.receive(timeout=0.01)
        assert late.value.datagrams == 0


@on_every_surface
async def test_a_family_that_came_back_without_the_group_is_an_error(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No look to come would mend it, so that it is raised, and not tried again in silence."""
    async with surface.open_generic() as genl, genl.subscribe("netdev", ["mgmt"]) as heard:
        follower = heard_by(heard)._follower
        follower.reader.is_stale = True
        monkeypatch.setattr(follower._source, "_wanted", attrs.evolve(MGMT, groups=("gone",)))
        for _ in range(2):
            with pytest.raises(nls.LocalProtocolError, match="no multicast group 'gone'"):
                await heard.receive()


@on_every_surface
async def test_what_a_stranger_says_is_not_believed(surface: Surface) -> None:
    """Who may send to the group has a port ID of its own; it is counted."""
    async with surface.open_generic() as genl, devices(genl) as heard:
        await until_whole(heard, {})
        family = await genl.family("netdev")
        spoof_multicast(16, family.groups["mgmt"], nls.message(family.id, b"\2\1\0\0"))
        with pytest.raises(nls.NetlinkTimeout):
            await heard.receive(timeout=0.05)
        assert heard.statistics().rejected == {"foreign_sender": 1}


@on_every_surface
async def test_what_a_key_raises_is_raised_once_and_hides_nothing(surface: Surface) -> None:
    """What was ready comes before it, and behind it whatever makes the picture the kernel's."""
    known: set[Any] = set()

    def key(row: nls.GenericReply) -> int:
        index = index_of(row)
        is_the_third = index not in known and len(known) == 2
        known.add(index)
        if is_the_third:
            raise ValueError("nobody expects the third")
        return index

    async with surface.open_generic() as genl, devices(genl, key=key) as heard:
        believed: dict[Any, Any] = {}
        await until_whole(heard, believed)
        with Links() as links:
            links.make("left", "right")
            links.make("more", "still")
        item = await heard.receive()
        believed[item.key] = item.row
        with pytest.raises(ValueError, match="the third"):
            await until_whole(heard, believed)
        assert len(known) == 5
        await until_whole(heard, believed)
        assert believed == await there(genl)
        assert believed.keys() == known
        assert await all_queued(heard) == []


@on_every_surface
async def test_nonsense_is_refused(surface: Surface) -> None:
    """At once where that can be seen, and when it is entered where the family must be asked."""
    async with surface.open_generic() as genl:
        for options, text in (
            ({}, "which family"),
            ({"family": ""}, "family="),
            ({"family": "nlctrl", "groups": [5]}, "group=5"),
            ({"family": "nlctrl", "snapshot": DEVICES}, "tells nothing of nlctrl"),
            ({"snapshot": DEVICES}, "key="),
            ({"snapshot": DEVICES, "key": index_of}, "commands="),
            ({"snapshot": DEVICES, "commands": [CAME]}, "key="),
            ({"family": "netdev", "commands": [CAME]}, "snapshot="),
            ({"snapshot": ethtool.link_state()}, "the kernel tells nothing of link state"),
            ({"snapshot": ethtool.rings()}, "does not tell by ethtool which devices come and go"),
            ({"family": "netdev", "key": index_of}, "snapshot="),
            ({"family": "netdev", "receive_buffer": 1024}, "below the floor"),
            ({"family": "netdev", "heartbeat": 0}, "heartbeat="),
            ({"family": "netdev", "codec": 5}, "no codec"),
            ({"family": "netdev", "groups": []}, "groups= is empty"),
            ({"family": "netdev", "groups": 5}, "groups=5"),
            ({"family": "netdev", "removals": 5}, "removals=5"),
            ({"snapshot": DEVICES, "key": 5}, "key=5 is no function"),
            ({"snapshot": DEVICES, "key": index_of, "commands": 5}, "commands=5"),
            ({"snapshot": DEVICES, "key": index_of, "removals": None}, "removals=None"),
            ({"snapshot": DEVICES, "key": index_of, "removals": ["x"]}, "command='x'"),
            ({"snapshot": ethtool.rings()}, "cannot be followed"),
            ({"snapshot": DEVICES, "removals": [3]}, "none is of use without"),
            ({"snapshot": DEVICES, "key": index_of, "codec": object}, "coded_request"),
            ({"snapshot": "netdev"}, "'netdev' is no request to a generic family"),
            ({"snapshot": ethtool.rings("lo")}, "rings of lo is about one thing"),
        ):
            with pytest.raises(nls.LocalProtocolError, match=text):
                async with genl.subscribe(**options):
                    pass
        with pytest.raises(nls.LocalProtocolError, match="no multicast group 'none'; it has: mgmt"):
            async with genl.subscribe("netdev", ["none"]):
                pass
        with pytest.raises(nls.FamilyNotFound):
            async with genl.subscribe("nothing"):
                pass
        with pytest.raises(nls.LocalProtocolError, match="TASKSTATS has no multicast groups"):
            async with genl.subscribe("TASKSTATS"):
                pass


def test_a_group_that_takes_rights_is_an_error_by_its_family() -> None:
    """What it is that takes them is in the text."""
    from netlink_safe import blocking

    def child() -> str:
        kernel.drop_all_rights()
        with blocking.open_generic() as genl:
            genl.subscribe("mptcp_pm", ["mptcp_pm_events"])
        return "joined"

    told = kernel.in_child(child)
    assert told.startswith("PermissionError: [Errno 1] Operation not permitted: joining multicast ")
    assert "of netlink protocol 16, for notifications of mptcp_pm, takes rights, mostly" in told


def test_a_forked_child_hears_nothing() -> None:
    """It would take its parent's notifications."""
    from netlink_safe import blocking

    with blocking.open_generic() as genl, genl.subscribe("netdev", ["mgmt"]) as heard:
        with Links() as links:
            links.make("left", "right")
        told = kernel.in_child(lambda: heard.receive(timeout=1))
        assert told.startswith("LocalProtocolError")
        for verb in (genl.family, genl.subscribe):
            told = kernel.in_child(partial(verb, "nlctrl"))
            assert told.startswith("LocalProtocolError")
        assert [heard.receive(timeout=10).command for _ in range(2)] == [CAME, CAME]
