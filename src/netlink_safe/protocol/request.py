"""What a family hands to a surface: a question, and how to read what comes back.

May call ``wire``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar

import attrs

from netlink_safe.wire.constants import NLM_F_DUMP
from netlink_safe.wire.header import Strides

if TYPE_CHECKING:
    from netlink_safe.wire.attribute_path import Names

Row = TypeVar("Row")

#: Reads a stretch of rows: (datagram, offset of the first, the reply's strides) to the offset of
#: the first message that is none of them.  The engine has looked at the first one.
Reader: TypeAlias = Callable[[bytes, int, Strides], int]

#: The same, with the list that the decoded rows are appended to.
RowReader: TypeAlias = Callable[[bytes, int, Strides, list[Row]], int]


#: What has a number that takes a look into the namespace that is asked, or into the file system.
LookupKind: TypeAlias = Literal["interface", "cgroup"]


@attrs.frozen(slots=True)
class Lookup:
    """Where in a payload a number goes that is to be looked up before it is sent, and whose.

    An interface's index takes 32 bits, a cgroup's number 64.
    """

    offset: int
    kind: LookupKind
    name: str


@attrs.frozen(slots=True, kw_only=True)
class Request(Generic[Row]):
    """One question to the kernel, and how its rows are read.

    ``name`` is for people; it stands in every error.
    ``protocol`` is the netlink protocol that it is for.
    ``type``, ``flags`` (NLM_F_*, without NLM_F_REQUEST and NLM_F_ACK, which are added) and
    ``payload`` are the message's.
    ``row_type`` is the message type of a row, ``row_minimum`` its least length in bytes with its
    header, ``read`` what reads a stretch of rows, see ``RowReader``.
    ``identity`` gives what makes two rows the same, for callers who ask for distinct rows.
    ``repeats`` says that rows come twice as a rule, in this request or in another of the same
    question: only the first is handed out, while a fold sees both.
    ``idempotent`` questions may be asked again on a fresh socket.
    ``may_stall`` says that one system call may take long, since the kernel walks a big table,
    takes rtnl_lock or loads a module inside it; such a request goes through a worker thread.
    ``instead`` is the same question in other words, for a kernel that refuses this one with one of
    the errnos ``instead_on``.
    ``missing`` are the errnos with which a kernel says that it lacks ``feature``, which came with
    release ``since``.
    An ``is_order`` request is acknowledged, and has no row.
    ``lookups`` are numbers that are yet to be put into the payload.
    ``advice`` is what KernelError is to tell of an errno beside its name.
    ``attributes_at`` is where in the payload attributes begin, in bytes, and ``names`` what they
    are called, for an error to say which one the kernel means.
    """

    name: str
    protocol: int
    type: int
    flags: int
    payload: bytes = attrs.field(repr=False)
    row_type: int
    row_minimum: int
    read: RowReader[Row] = attrs.field(repr=False, eq=False)
    identity: Callable[[Row], Hashable] | None = attrs.field(default=None, repr=False, eq=False)
    repeats: bool = False
    idempotent: bool = True
    may_stall: bool = False
    instead: tuple[Request[Row], ...] = attrs.field(default=(), repr=False)
    instead_on: frozenset[int] = frozenset()
    feature: str = "this request"
    since: str | None = None
    missing: frozenset[int] = frozenset()
    is_order: bool = False
    lookups: tuple[Lookup, ...] = ()
    advice: tuple[tuple[int, str], ...] = attrs.field(default=(), repr=False)
    attributes_at: int | None = None
    names: Names | None = attrs.field(default=None, repr=False, eq=False)

    @property
    def is_dump(self) -> bool:
        """Whether the reply is a table that ends in NLMSG_DONE."""
        return self.flags & NLM_F_DUMP == NLM_F_DUMP
