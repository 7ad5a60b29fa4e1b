"""What no kernel does on demand, said by a scripted one: the promised outcome on every surface."""

from __future__ import annotations

import contextlib
import errno
from functools import partial
from typing import TYPE_CHECKING, Any

import hypothesis
import hypothesis.strategies as st
import pytest

import netlink_safe as nls
import uevents
from netlink_safe import blocking
from netlink_safe.collectors.tcp_fold import StateFold
from netlink_safe.errors import DecodeError, DumpInterrupted, OverrunError
from netlink_safe.testing import (
    Loss,
    ScriptedKernel,
    Sent,
    TcpFigure,
    ack,
    cut_off,
    done,
    refusal,
    reply,
    row,
)
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG, NLM_F_DUMP_INTR
from netlink_safe.wire.datagram import Credentials
from surfaces import Surface, on_every_surface, taking_at_most
from worlds import UEVENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.testing import Asked, Script

pytestmark = pytest.mark.anywhere

BY_FAMILY = 20
LISTENERS = nls.tcp_sockets(states="listen", families="inet")
NOBODY = nls.tcp_socket(("127.0.0.1", 9))
ROW = TcpFigure(state="listen").encoded()
#: An ack's payload: errno and the header that it answers.
WHOLE_ACK = 20


@pytest.fixture
def scripted() -> Iterator[ScriptedKernel]:
    """In place as long as the test runs."""
    with ScriptedKernel() as kernel:
        kernel.tcp(TcpFigure(state="listen"))
        yield kernel


def saying(kernel: ScriptedKernel, script: Script, times: int | None = None) -> None:
    """Have questions for TCP sockets answered by a script, the first few times or always."""
    left = [None] * (0 if times is None else times)
    kernel.tcp(TcpFigure(state="listen"))
    well = kernel._scripts[NETLINK_SOCK_DIAG, BY_FAMILY]

    def answer(asked: Asked) -> Any:
        if times is None:
            return script(asked)
        if left:
            left.pop()
            return script(asked)
        return well(asked)

    kernel.answer(NETLINK_SOCK_DIAG, BY_FAMILY, answer)


async def count(diag: Any, **options: Any) -> int:
    return len([one async for one in diag.dump(LISTENERS, **options)])


async def rows_folded(diag: Any) -> int:
    [fold] = await diag.fold(LISTENERS, StateFold)
    return int(fold.rows)


def interrupted(asked: Asked) -> Iterator[bytes]:
    yield row(asked, ROW, flags=NLM_F_DUMP_INTR)
    yield done(asked)


@on_every_surface
async def test_an_interrupted_dump_is_asked_for_again_and_then_reported(
    surface: Surface, scripted: ScriptedKernel
) -> None:
    """Where no row was handed out; three times interrupted it is an error."""
    async with surface.open_sock_diag() as diag:
        saying(scripted, interrupted, times=2)
        assert await rows_folded(diag) == 1
        assert diag.statistics().interrupted == 2
        saying(scripted, interrupted)
        with pytest.raises(DumpInterrupted):
            await rows_folded(diag)
        assert await count(diag, when_interrupted="accept") == 1


@on_every_surface
async def test_a_reply_that_is_cut_off_is_an_overrun(
    surface: Surface, scripted: ScriptedKernel
) -> None:
    """NLMSG_OVERRUN, which no kernel sends: a fold asks again, rows that are out are an error."""

    def half(asked: Asked) -> Iterator[bytes]:
        yield row(asked, ROW)
        yield cut_off(asked)

    async with surface.open_sock_diag() as diag:
        saying(scripted, half, times=1)
        assert await rows_folded(diag) == 1
        saying(scripted, half, times=1)
        with pytest.raises(OverrunError, match="cut off"):
            await count(diag)
        assert await count(diag) == 1


@on_every_surface
async def test_memory_that_is_not_to_be_had_in_the_middle_of_a_dump_is_an_overrun(
    surface: Surface, scripted: ScriptedKernel
) -> None:
    """ENOBUFS, and then nothing ever resumes the dump: it is left, and asked for anew."""

    def failing(asked: Asked) -> Iterator[bytes | Loss]:
        yield row(asked, ROW)
        yield Loss()
        yield done(asked)

    async with surface.open_sock_diag(timeout=5) as diag:
        saying(scripted, failing, times=1)
        with taking_at_most(2):
            assert await rows_folded(diag) == 1
        assert diag.statistics().overruns == 1
        saying(scripted, failing)
        with pytest.raises(OverrunError) as caught:
            await count(diag)
        assert caught.value.drops == 1


@on_every_surface
async def test_an_errno_inside_the_end_of_a_dump_is_an_error_with_its_explanation(
    surface: Surface, scripted: ScriptedKernel
) -> None:
    """As a kernel tells what went wrong half-way."""

    def failing(asked: Asked) -> Iterator[bytes]:
        yield row(asked, ROW)
        yield done(asked, errno.ENOMEM, text="no memory for sockets")

    async with surface.open_sock_diag() as diag:
        saying(scripted, failing, times=1)
        with pytest.raises(nls.KernelError, match="no memory for sockets") as caught:
            await count(diag)
        assert caught.value.errno == errno.ENOMEM
        assert await count(diag) == 1


@on_every_surface
async def test_replies_that_come_in_another_order_change_nothing(
    surface: Surface, scripted: ScriptedKernel
) -> None:
    """Messages of another exchange stand between our own, which are counted and passed over."""

    def mixed(asked: Asked) -> Iterator[bytes]:
        old = asked.sequence - 1 & 0xFFFFFFFF
        yield reply(asked, BY_FAMILY, ROW, sequence=old)
        yield reply(asked, 3, bytes(4), sequence=old) + row(asked, ROW)
        yield reply(asked, BY_FAMILY, ROW, port_id=1) + done(asked) + row(asked, ROW)

    async with surface.open_sock_diag() as diag:
        saying(scripted, mixed)
        assert await count(diag) == 1
        assert diag.statistics().rejected == {"sequence": 2, "port_id": 1, "after_end": 1}


@on_every_surface
async def test_an_ack_that_overtakes_its_row_ends_the_exchange(
    surface: Surface, scripted: ScriptedKernel
) -> None:
    """The row behind it is nobody's: the request has no answer, and says so."""

    def overtaken(asked: Asked) -> Iterator[bytes]:
        yield ack(asked)
        yield row(asked, ROW)

    async with surface.open_sock_diag() as diag:
        saying(scripted, overtaken)
        with pytest.raises(nls.RemoteProtocolError):
            await diag.request(NOBODY)
        saying(scripted, lambda asked: [row(asked, ROW), ack(asked)])
        assert (await diag.request(NOBODY)).state == nls.TcpState.LISTEN


@on_every_surface
async def test_late_replies_to_what_timed_out_reach_nobody(
    surface: Surface, scripted: ScriptedKernel
) -> None:
    """The socket of an exchange that was given up is closed, and its port ID is nobody's."""

    def late(asked: Asked) -> Iterator[Sent]:
        yield Sent(row(asked, ROW) + done(asked), held=True)

    async with surface.open_sock_diag(timeout=0.2) as diag:
        saying(scripted, late)
        with pytest.raises(nls.NetlinkTimeout):
            await rows_folded(diag)
        saying(scripted, late, times=0)
        assert scripted.release() == 0
        assert await count(diag) == 1
        assert diag.statistics().rejected == {}


@on_every_surface
async def test_acks_that_are_cut_short_are_errors(
    surface: Surface, scripted: ScriptedKernel
) -> None:
    """At every length below a whole one; the next call works."""
    async with surface.open_sock_diag() as diag:
        for size in range(WHOLE_ACK):
            saying(scripted, lambda asked, size=size: [ack(asked, size=size)], times=1)  # type: ignore[misc]
            with pytest.raises(DecodeError):
                await diag.request(NOBODY)
            saying(
                scripted,
                lambda asked, size=size: [refusal(asked, errno.EPERM, size=size)],  # type: ignore[misc]
                times=1,
            )
            with pytest.raises(DecodeError):
                await diag.request(NOBODY)
        assert await count(diag) == 1


@on_every_surface
async def test_every_errno_is_an_error_that_names_it(
    surface: Surface, scripted: ScriptedKernel
) -> None:
    """To a request and at the start of a dump; the object stays usable."""
    async with surface.open_sock_diag() as diag:
        for number in sorted(errno.errorcode):
            saying(scripted, lambda asked, number=number: [refusal(asked, number)])  # type: ignore[misc]
            for asking in (partial(diag.request, NOBODY), partial(count, diag)):
                with pytest.raises(nls.KernelError) as caught:
                    await asking()
                assert caught.value.errno == number
                assert "refused" in str(caught.value) or isinstance(caught.value, nls.NotSupported)
        saying(scripted, interrupted, times=0)
        assert await count(diag) == 1
        assert diag.statistics().open_sockets == 1


@on_every_surface
async def test_what_nobody_scripted_is_refused(surface: Surface) -> None:
    """With EOPNOTSUPP; and what was asked stands in the list."""
    with ScriptedKernel() as kernel:
        async with surface.open_sock_diag() as diag:
            with pytest.raises(nls.KernelError) as caught:
                await diag.request(NOBODY)
        assert caught.value.errno == errno.EOPNOTSUPP
        assert [asked.type for asked in kernel.asked] == [BY_FAMILY]
        assert kernel.open_sockets == 0


@hypothesis.given(parts=st.lists(st.one_of(st.binary(max_size=64), st.integers(0, 5)), max_size=5))
@hypothesis.settings(max_examples=50)
def test_whatever_bytes_a_kernel_says_it_ends_in_time_and_in_an_error_of_ours(
    parts: list[bytes | int],
) -> None:
    """Garbage between messages that are whole; the next call works."""

    def garbage(asked: Asked) -> Iterator[bytes]:
        made = (row(asked, ROW), done(asked), ack(asked), cut_off(asked), b"", row(asked, b""))
        for part in parts:
            yield part if isinstance(part, bytes) else made[part]

    with ScriptedKernel() as kernel, blocking.open_sock_diag(timeout=0.02) as diag:
        saying(kernel, garbage)
        with taking_at_most(2), contextlib.suppress(nls.NetlinkError):
            list(diag.dump(LISTENERS))
        saying(kernel, garbage, times=0)
        assert len(list(diag.dump(LISTENERS, timeout=5))) == 1


@on_every_surface
async def test_listeners_hear_a_scripted_kernel_and_doubt_a_scripted_stranger(
    surface: Surface, scripted: ScriptedKernel
) -> None:
    """An event of the kernel's comes; one of a process's is counted and gone."""
    text = uevents.text("change", "/devices/virtual/net/lo", SEQNUM=7)
    async with surface.open_uevents(subsystem="net") as events:
        assert scripted.multicast(UEVENT, 1, text, sender=4711) == 1
        assert scripted.multicast(UEVENT, 1, text, credentials=Credentials(0, 12345, 0)) == 1
        assert scripted.multicast(UEVENT, 1, text) == 1
        event = await events.receive(timeout=5)
        assert (event.action, event.seqnum) == ("change", 7)
        assert events.statistics().rejected == {"foreign_sender": 1, "not_root": 1}


@on_every_surface
async def test_a_storm_of_a_scripted_kernel_is_an_overrun_and_a_resync(
    surface: Surface, scripted: ScriptedKernel
) -> None:
    """What is lost is told with its number, whoever the kernel is."""
    text = uevents.text("change", "/devices/virtual/net/lo", SEQNUM=7)
    async with surface.open_uevents(subsystem="net", receive_buffer=32 * 1024) as events:
        for _ in range(200):
            scripted.multicast(UEVENT, 1, text)
        heard = 0
        while not isinstance(item := await events.receive(timeout=5), nls.Overrun):
            heard += 1
        assert heard + item.drops == 200
        assert isinstance(await events.receive(timeout=5), nls.Resynced)


def test_a_stranger_s_reply_is_not_believed(scripted: ScriptedKernel) -> None:
    """It has all numbers right, and another sender."""

    def spoofed(asked: Asked) -> Iterator[bytes | Sent]:
        yield Sent(row(asked, ROW) + done(asked), sender=4711)
        yield row(asked, ROW) + done(asked)

    with blocking.open_sock_diag() as diag:
        saying(scripted, spoofed)
        assert len(list(diag.dump(LISTENERS))) == 1
        assert diag.statistics().rejected == {"foreign_sender": 1}
        with pytest.raises(ConnectionRefusedError):
            scripted.spoof(1, b"", sender=2)
