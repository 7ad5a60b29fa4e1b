"""What the kernel tells of MPTCP: struct mptcp_info, and what a TCP connection is to it.

From ``include/uapi/linux/mptcp.h``.
May call ``families.growing``, ``wire`` and ``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from netlink_safe.families.growing import Field, GrowingStructure, u8, u32, u64
from netlink_safe.wire.enums import NewerFlags

if TYPE_CHECKING:
    from netlink_safe.wire.attributes import Attributes

#: MPTCP_SUBFLOW_ATTR_*.
TOKEN_REMOTE, TOKEN_LOCAL, RELATIVE_WRITE_SEQUENCE, MAP_SEQUENCE = 1, 2, 3, 4
MAP_SUBFLOW_SEQUENCE, SUBFLOW_OFFSET, MAP_LENGTH, FLAGS, ID_REMOTE, ID_LOCAL = 5, 6, 7, 8, 9, 10


class MptcpFlags(NewerFlags):
    """MPTCP_INFO_FLAG_*: it goes on as plain TCP, and the peer's key is known.

    From ``include/uapi/linux/mptcp.h``; unknown ones are kept.
    """

    FALLBACK = 1
    REMOTE_KEY_RECEIVED = 2


class SubflowFlags(NewerFlags):
    """MPTCP_SUBFLOW_FLAG_*: how far a subflow has come, and what either end has said of it.

    From ``include/uapi/linux/mptcp.h``; unknown ones are kept.
    """

    CAPABLE_REMOTE = 1 << 0
    CAPABLE_LOCAL = 1 << 1
    JOIN_REMOTE = 1 << 2
    JOIN_LOCAL = 1 << 3
    BACKUP_REMOTE = 1 << 4
    BACKUP_LOCAL = 1 << 5
    FULLY_ESTABLISHED = 1 << 6
    CONNECTED = 1 << 7
    MAP_VALID = 1 << 8


class MptcpInfo(GrowingStructure):
    """What the kernel knows of one MPTCP connection, of all of its subflows together.

    Sequence numbers are of the connection, in bytes.  ``flags`` are MptcpFlags.
    A field that the running kernel does not give is None (``net/mptcp/sockopt.c``:
    mptcp_diag_fill_info).
    """

    __slots__ = ()

    subflows: Field = u8(0, "Subflows beyond the first.")
    add_addr_signal: Field = u8(1, "Addresses announced to the peer.")
    add_addr_accepted: Field = u8(2, "Addresses of the peer's that were accepted.")
    subflows_max: Field = u8(3, "Limit of subflows beyond the first.")
    add_addr_signal_max: Field = u8(4, "Endpoints that are to be announced.")
    add_addr_accepted_max: Field = u8(5, "Limit of addresses to accept.")
    flags: Field = u32(8, "MptcpFlags.")
    token: Field = u32(12, "Local token, which its subflows have as their local one.")
    write_seq: Field = u64(16, "Next to be written.")
    snd_una: Field = u64(24, "First that is not acknowledged.")
    rcv_nxt: Field = u64(32, "Next that is expected.")
    local_addr_used: Field = u8(40, "Local addresses in use (Linux 5.12).")
    local_addr_max: Field = u8(41, "Endpoints for subflows (Linux 5.12).")
    csum_enabled: Field = u8(42, "1 if there are checksums (Linux 5.14).")
    retransmits: Field = u32(44, "Retransmissions of the connection (Linux 6.5).")
    bytes_retrans: Field = u64(48, "Bytes retransmitted (Linux 6.5).")
    bytes_sent: Field = u64(56, "Bytes sent (Linux 6.5).")
    bytes_received: Field = u64(64, "Bytes received (Linux 6.5).")
    bytes_acked: Field = u64(72, "Bytes sent and acknowledged (Linux 6.5).")
    subflows_total: Field = u8(80, "Subflows, the first among them (Linux 6.8).")
    endp_laminar_max: Field = u8(81, "Endpoints for laminar subflows (Linux 6.18).")
    endp_fullmesh_max: Field = u8(82, "Endpoints for a full mesh (Linux 6.19).")
    last_data_sent: Field = u32(84, "Since data was last sent, milliseconds (Linux 6.10).")
    last_data_recv: Field = u32(88, "Since data last came, milliseconds (Linux 6.10).")
    last_ack_recv: Field = u32(92, "Since an ack last came, milliseconds (Linux 6.10).")


@attrs.frozen(slots=True, kw_only=True)
class MptcpSubflow:
    """What one TCP connection is to MPTCP: INET_ULP_INFO_MPTCP.

    ``token_local`` is the ``token`` of the connection that it belongs to, ``token_remote`` what
    the peer calls that; IDs are of the addresses at either end, 0 for the first subflow's.
    The map says which bytes of the connection a stretch of the subflow is: sequence numbers, the
    length and the offset are in bytes (``net/mptcp/diag.c``: subflow_get_info).
    """

    token_remote: int | None
    token_local: int | None
    id_remote: int | None
    id_local: int | None
    flags: SubflowFlags
    relative_write_sequence: int | None
    map_sequence: int | None
    map_subflow_sequence: int | None
    map_length: int | None
    subflow_offset: int | None

    @classmethod
    def read(cls, said: Attributes) -> MptcpSubflow:
        """From the attributes in the nest."""
        return cls(
            token_remote=said.u32(TOKEN_REMOTE),
            token_local=said.u32(TOKEN_LOCAL),
            id_remote=said.u8(ID_REMOTE),
            id_local=said.u8(ID_LOCAL),
            flags=SubflowFlags(said.u32(FLAGS) or 0),
            relative_write_sequence=said.u32(RELATIVE_WRITE_SEQUENCE),
            map_sequence=said.u64(MAP_SEQUENCE),
            map_subflow_sequence=said.u32(MAP_SUBFLOW_SEQUENCE),
            map_length=said.u16(MAP_LENGTH),
            subflow_offset=said.u32(SUBFLOW_OFFSET),
        )
