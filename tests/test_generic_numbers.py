"""The numbers of generic families: unknown, changed, taken by another; replies lost meanwhile."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import netlink_safe as nls
from faults import DEAF, filtered, losing, retyped
from links import Links
from netlink_safe import blocking
from netlink_safe.families import ctrl, ethtool
from netlink_safe.transport.modules import family_alias, module_for
from netlink_safe.wire.attributes import build_attribute, build_nested, build_text
from netlink_safe.wire.constants import NLMSG_DONE
from surfaces import Surface, on_every_surface, taking_at_most


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
