"""Messages between processes: what arrives, and what peers that know only netlink expect.

May call ``wire`` and ``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from netlink_safe.errors import LocalProtocolError, NetlinkError
from netlink_safe.wire.header import build_message

if TYPE_CHECKING:
    from netlink_safe.wire.datagram import Credentials

_TYPES = range(1 << 16)
_WORDS = range(1 << 32)


@attrs.frozen(slots=True)
class UserMessage:
    """One datagram of another process, as it was given.

    ``port_id`` is the sender's, ``credentials`` are its pid, uid and gid, by the kernel's word for
    an unprivileged sender; one with CAP_SYS_ADMIN, CAP_SETUID or CAP_SETGID may state another pid,
    uid or gid (SCM_CREDENTIALS; ``net/core/scm.c``: scm_check_creds).
    ``group`` is the multicast group that it was sent to, from 1 to 32, 0 for a message to this
    socket alone.
    """

    payload: bytes
    port_id: int
    group: int
    credentials: Credentials | None


@attrs.frozen(slots=True)
class Undelivered:
    """A message that an outbox has given up, as ``on_undelivered`` is told of it.

    ``age`` is the time since it was posted, in seconds; ``reason`` the word under which statistics
    count it (``"deadline"``, ``"no_such_peer"``, ``"refused"`` or ``"closed"``), ``error`` the same
    at length.
    """

    payload: bytes
    port_id: int
    age: float
    reason: str
    error: NetlinkError


def message(type: int, payload: bytes = b"", *, flags: int = 0, sequence: int = 0) -> bytes:  # noqa: A002  # the header's own word
    """A datagram of one message with a netlink header, for peers that expect one.

    ``type`` and ``flags`` are from 0 to 65535, ``sequence`` from 0 to 2**32 - 1; the port ID in it
    is 0.
    ``type`` below 16 is netlink's own (``include/uapi/linux/netlink.h``: NLMSG_MIN_TYPE).
    Raises LocalProtocolError for a number that does not fit its field, and for what is no bytes.
    """
    for name, value, fits in (
        ("type", type, _TYPES),
        ("flags", flags, _TYPES),
        ("sequence", sequence, _WORDS),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value not in fits:
            raise LocalProtocolError(f"{name}={value!r} is no number from 0 to {fits[-1]}")
    return build_message(type, flags, sequence, 0, checked_bytes(payload))


def checked_bytes(payload: bytes | bytearray | memoryview) -> bytes:
    """The payload as bytes.  Raises LocalProtocolError for what is none, or cannot be read."""
    if not isinstance(payload, bytes | bytearray | memoryview):
        raise LocalProtocolError(f"payload={payload!r} is no bytes")
    try:
        return bytes(payload)
    except Exception as error:  # a view that was released, or a class's own __bytes__
        raise LocalProtocolError(f"the payload cannot be read as bytes: {error}") from error
