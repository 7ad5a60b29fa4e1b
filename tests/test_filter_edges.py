"""Filters where they are easily taken for something else: texts, quotes, brackets, truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernel
import netlink_safe as nls
import netlink_safe.blocking
from surfaces import Surface, on_every_surface

if TYPE_CHECKING:
    from collections.abc import Callable

SIDES = st.sampled_from(["src", "dst", "any"])
PORTS = st.integers(0, 0xFFFF)
NAMES = st.text(st.characters(exclude_characters="\0/:", exclude_categories=["Cs"]), min_size=1)
ODD = st.sampled_from(['"', "\\", '" or dev = "', "and", "eq", "5", "(", "a b", "0x5", "\n"])


def _range(side: Any, one: int, other: int) -> nls.Filter:
    return nls.Port(side, min(one, other), max(one, other))


def _mark(value: int, mask: int) -> nls.Filter:
    return nls.Mark(value & mask, mask)


def _interface(name: str) -> nls.Filter:
    return nls.Interface(name.encode()[:15].decode("utf-8", "ignore") or "lo")


WORDS = st.integers(0, 0xFFFFFFFF)
CONDITIONS: st.SearchStrategy[nls.Filter] = st.one_of(
    st.builds(nls.Port, SIDES, PORTS),
    st.builds(_range, SIDES, PORTS, PORTS),
    st.builds(nls.Address, st.ip_addresses(), SIDES),
    st.builds(
        lambda address, length, side: nls.Address(f"{address}/{length}", side),
        st.ip_addresses(),
        st.integers(0, 32),
        SIDES,
    ),
    st.builds(_mark, WORDS, WORDS),
    st.builds(_interface, NAMES | ODD),
    st.builds(nls.Interface, st.integers(0, 0x7FFFFFFF)),
    st.builds(lambda name: nls.Cgroup(f"/{name}"), NAMES | ODD),
    st.builds(nls.Cgroup, st.integers(0, (1 << 64) - 1)),
)


def _combined(parts: st.SearchStrategy[nls.Filter]) -> st.SearchStrategy[nls.Filter]:
    several = st.lists(parts, min_size=2, max_size=4).map(tuple)
    return several.map(nls.AllOf) | several.map(nls.AnyOf) | parts.map(lambda part: ~part)


FILTERS = st.recursive(CONDITIONS, _combined, max_leaves=20)


@pytest.mark.anywhere
@given(FILTERS)
def test_a_filter_is_read_back_from_its_text(where: nls.Filter) -> None:
    """Whatever stands in a name, the text means the same filter and no other."""
    assert nls.parse_filter(str(where)) == where


WORDS_OF_IT = "sport dport src dst host port dev fwmark cgroup and or not ! & | ( ) = != < >="
OPERANDS = ':22 22 1-2 " "" "a" \\ 10.0.0.0/8 [::1] [::1 ]:1 :: 0x1/0xff /a lo state % ²'
PIECES = st.sampled_from([*WORDS_OF_IT.split(), *OPERANDS.split()])


@pytest.mark.anywhere
@given(st.text() | st.lists(PIECES).map(" ".join) | st.lists(PIECES).map("".join))
def test_any_text_is_a_filter_or_an_error_that_lies_in_it(text: str) -> None:
    """And where it is a filter, nothing of the text was passed over."""
    where = error = None
    try:
        where = nls.parse_filter(text)
    except nls.FilterSyntaxError as raised:
        error = raised
    if error is not None:
        assert 0 <= error.position <= len(text)
        assert error.text == text
    if where is not None:
        assert nls.parse_filter(str(where)) == where
        with pytest.raises(nls.FilterSyntaxError):
            nls.parse_filter(f"{text} surplus")


@pytest.mark.anywhere
@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ('dport = :22 "" and more', 12, "begins no condition"),
        ('dport = :22 ""', 12, "begins no condition"),
        ('dev ""', 4, "is no interface's name"),
        ("dst [::1", 4, "in brackets"),
        ("dst [::1]22", 4, "in brackets"),
        ("dst [::1]/64", 4, "in brackets"),
        ("dst ::1:443", 4, "told from it"),
        ("dst [fe80::1%eth0]", 4, "has a scope"),
        ("sport 1 or sport 2 and dport 3", 19, "parentheses"),
        ("sport 1 or sport 2 dport 3", 19, "parentheses"),
        ("sport 1 and sport 2 or dport 3 and dport 4", 31, "parentheses"),
        ("sport 1 or sport 2 rubbish", 19, "begins no condition"),
        ('dev = "a\\"', 6, "not closed"),
        ("(" * 60_000, 64, "nested deeper"),
        ("not " * 60_000, 65_536, "at most"),
    ],
)
def test_an_error_says_where_it_is(text: str, position: int, said: str) -> None:
    """What could be read in two ways is asked for, and nothing is passed over."""
    with pytest.raises(nls.FilterSyntaxError, match=said) as caught:
        nls.parse_filter(text)
    assert caught.value.position == position


@pytest.mark.anywhere
def test_and_before_or_is_read_as_both_readings_have_it() -> None:
    """From the left, and by precedence, it is the same."""
    one, two, three = (nls.Port("src", number) for number in (1, 2, 3))
    assert nls.parse_filter("sport 1 and sport 2 or sport 3") == (one & two) | three
    assert nls.parse_filter("sport 1 or (sport 2 and sport 3)") == one | (two & three)
    assert str(one | (two & three)) == "sport = :1 or ( sport = :2 and sport = :3 )"


@pytest.mark.anywhere
def test_the_deepest_filter_is_read_back_from_its_text() -> None:
    """Parentheses may be as deep as a filter, and no deeper, however it is made."""
    where: nls.Filter = nls.Port("src", 1)
    while where.depth < 64:
        where = where | nls.Port("src", 2) if where.depth % 2 else where & nls.Port("dst", 3)
    assert nls.parse_filter(str(where)) == where
    with pytest.raises(nls.FilterSyntaxError, match="nested deeper"):
        nls.parse_filter(f"( {where} ) or ! ( {where} )")
    with pytest.raises(nls.LocalProtocolError, match="nested deeper"):
        nls.Not(where)


@pytest.mark.anywhere
@pytest.mark.parametrize(
    "wrong",
    [
        lambda: nls.Port("src", 1) and nls.Port("src", 2),
        lambda: nls.Port("src", 1) or nls.Port("src", 2),
        lambda: not nls.Port("src", 1),
    ],
)
def test_a_filter_has_no_truth(wrong: Callable[[], object]) -> None:
    """The words would drop one of two filters in silence."""
    with pytest.raises(nls.LocalProtocolError, match=r"by &, \| and ~"):
        wrong()


@pytest.mark.anywhere
def test_an_address_has_no_scope() -> None:
    """The kernel would compare without it."""
    with pytest.raises(nls.LocalProtocolError, match="has a scope"):
        nls.Address("fe80::1%eth0")


@on_every_surface
async def test_a_mark_is_told_to_the_administrator(surface: Surface) -> None:
    """Whoever is none is told why the kernel refuses."""

    def refused() -> str:
        kernel.drop_all_rights()
        with nls.blocking.open_sock_diag() as diag:
            return str(list(diag.dump(nls.tcp_sockets(where=nls.Mark(1)))))

    async with surface.open_sock_diag() as diag:
        assert [row async for row in diag.dump(nls.tcp_sockets(where=nls.Mark(1)))] == []
    said = kernel.in_child(refused)
    assert said.startswith("KernelError: ")
    assert said.endswith(
        "(EPERM): a filter by mark takes CAP_NET_ADMIN in the network namespace asked"
    )


@on_every_surface
async def test_a_directory_that_is_no_cgroup_has_no_number(surface: Surface) -> None:
    """Its inode's number might be that of a cgroup."""
    async with surface.open_sock_diag() as diag:
        with pytest.raises(nls.LocalProtocolError, match="there is no cgroup '/proc'"):
            _ = [row async for row in diag.dump(nls.tcp_sockets(where=nls.Cgroup("/proc")))]
