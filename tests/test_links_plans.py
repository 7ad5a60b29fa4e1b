"""What a deletion of a link does step by step, refuses and undoes, by its plan alone."""

from __future__ import annotations

import errno

import attrs
import pytest

from netlink_safe.errors import KernelError, LinkInUseError
from netlink_safe.families.link_guard import deletion
from plans_of_links import Box, a_link, pair, port


def pair_with_port(upcall_ports: tuple[int, ...] = ()) -> Box:
    box = pair(slave_kind="openvswitch", master=9)
    box.links[9] = a_link(9, "dp0", kind="openvswitch")
    box.ports["right"] = port("right", upcall_ports)
    return box


@pytest.mark.anywhere
def test_a_link_that_is_nothing_special_is_deleted() -> None:
    """Without anything else being done."""
    box = pair()
    box.carry_out(deletion("left"))
    assert box.did == ["delete left"]


@pytest.mark.anywhere
@pytest.mark.parametrize("wanted", ["left", "right"])
def test_either_end_of_a_pair_is_refused(wanted: str) -> None:
    """The error has the datapath, the port, and what to type."""
    box = pair_with_port()
    with pytest.raises(LinkInUseError) as refused:
        box.carry_out(deletion(wanted))
    error = refused.value
    assert (error.link, error.port, error.datapath, error.number) == (wanted, "right", "dp0", 1)
    assert error.command == "ovs-dpctl del-if dp0 right"
    assert "was not deleted" in str(error)
    assert box.did == []


@pytest.mark.anywhere
def test_detaching_goes_step_by_step() -> None:
    """Down, out, away; each is told for errors that come later."""
    box = pair_with_port()
    box.carry_out(deletion("left", detach=True))
    assert box.did == ["down left", "detach right", "delete left"]
    assert box.told == [
        "left was set down",
        "the port right was taken out",
        "left was deleted",
    ]


@pytest.mark.anywhere
def test_a_port_that_is_slow_to_go_is_waited_for() -> None:
    """The link stays until it is gone."""
    box = pair_with_port()
    box.slow = 4
    box.carry_out(deletion("left", detach=True))
    assert box.slow < 4
    assert box.did == ["down left", "detach right", "delete left"]


@pytest.mark.anywhere
def test_a_step_that_fails_is_undone() -> None:
    """The link is up again, and the error is the kernel's."""
    box = pair_with_port()
    box.refused["detach"] = errno.EPERM
    with pytest.raises(KernelError, match="EPERM"):
        box.carry_out(deletion("left", detach=True))
    assert box.did == ["down left", "up left"]
    assert box.told == ["left was set down", "left was set up again"]


@pytest.mark.anywhere
@pytest.mark.parametrize("step", ["look again", "delete"])
def test_whatever_fails_behind_setting_down_is_undone(step: str) -> None:
    """Also where nothing can be seen any more, or the deletion itself is refused."""
    box = pair_with_port()
    box.refused[step] = errno.EBUSY
    with pytest.raises(KernelError, match="EBUSY"):
        box.carry_out(deletion("left", detach=True))
    assert box.did[0] == "down left"
    assert box.did[-1] == "up left"
    assert box.told[-1] == "left was set up again"


@pytest.mark.anywhere
@pytest.mark.parametrize("number", [errno.ENODEV, errno.ENOENT])
def test_a_port_that_is_out_already_is_as_good(number: int) -> None:
    """Somebody else took it out between the look and the order."""
    box = pair_with_port()
    box.refused["detach"] = number
    box.gone_by_then = True
    box.carry_out(deletion("left", detach=True))
    assert box.did == ["down left", "delete left"]
    assert "the port right was out already" in box.told


@pytest.mark.anywhere
def test_what_is_broken_off_was_told_as_far_as_it_came() -> None:
    """It cannot undo anything then: nobody carries out its wishes any more."""
    box = pair_with_port()
    plan = deletion("left", detach=True)
    wish = next(plan)
    while not box.told:
        wish = plan.send(box.grant(wish))
    plan.close()
    assert box.did == ["down left"]
    assert box.told == ["left was set down"]


@pytest.mark.anywhere
def test_what_cannot_be_undone_is_told() -> None:
    """And does not hide why it was to be undone."""
    box = pair_with_port()
    box.refused.update(detach=errno.EPERM, up=errno.EBUSY)
    with pytest.raises(KernelError, match="EPERM"):
        box.carry_out(deletion("left", detach=True))
    assert box.told[-1].startswith("setting left up again failed (the kernel refused")


@pytest.mark.anywhere
def test_a_link_that_was_down_stays_down() -> None:
    """What is undone is what was done."""
    box = pair_with_port()
    box.links[2] = attrs.evolve(box.links[2], is_up=False)
    box.refused["detach"] = errno.EPERM
    with pytest.raises(KernelError, match="EPERM"):
        box.carry_out(deletion("left", detach=True))
    assert box.did == ["down left"]


@pytest.mark.anywhere
def test_a_port_that_is_served_is_left_alone() -> None:
    """Unless force is said; by whom is in the error."""
    box = pair_with_port((1234,))
    box.owners = {1234: 4711}
    with pytest.raises(LinkInUseError, match="process 4711 serves and would put back") as refused:
        box.carry_out(deletion("left", detach=True))
    assert refused.value.command == "ovs-vsctl del-port right"
    assert box.did == []
    box.carry_out(deletion("left", detach=True, force=True))
    assert box.did == ["down left", "detach right", "delete left"]


@pytest.mark.anywhere
def test_an_upcall_port_that_nobody_has_is_no_owner() -> None:
    """Its process has ended."""
    box = pair_with_port((1234,))
    box.carry_out(deletion("left", detach=True))
    assert box.did[-1] == "delete left"


@pytest.mark.anywhere
def test_force_deletes_a_port_as_it_is() -> None:
    """For who knows better."""
    box = pair_with_port()
    box.carry_out(deletion("left", force=True))
    assert box.did == ["delete left"]
