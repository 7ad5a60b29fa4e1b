"""struct tcp_info, every field that the kernel gave (``include/uapi/linux/tcp.h``).

The structure only ever grows at its end, so its length says which fields there are.
A field that the running kernel does not give is None; bytes past the last field known here are in
``tail``.

May call nothing of the library.
"""

from __future__ import annotations

import struct
import sys
from typing import Final, overload

_BITS_FROM_LOW: Final = sys.byteorder == "little"


class _Field:
    """A number at an offset, read when asked for."""

    def __init__(self, offset: int, format_: str, meaning: str, *, bits: tuple[int, int] = (0, 0)):
        self._offset = offset
        self._struct = struct.Struct(f"={format_}")
        self.end = offset + self._struct.size
        self.__doc__ = meaning
        first, width = bits
        self._shift = first if _BITS_FROM_LOW else 8 - first - width
        self._mask = (1 << width) - 1 if width else -1

    @overload
    def __get__(self, instance: None, owner: type) -> _Field: ...
    @overload
    def __get__(self, instance: TcpInfo, owner: type) -> int | None: ...
    def __get__(self, instance: TcpInfo | None, owner: type) -> _Field | int | None:
        if instance is None:
            return self
        if self.end > len(instance.raw):
            return None
        (value,) = self._struct.unpack_from(instance.raw, self._offset)
        return value >> self._shift & self._mask if self._mask > 0 else int(value)


def _u8(offset: int, meaning: str, bits: tuple[int, int] = (0, 0)) -> _Field:
    return _Field(offset, "B", meaning, bits=bits)


def _u16(offset: int, meaning: str) -> _Field:
    return _Field(offset, "H", meaning)


def _u32(offset: int, meaning: str) -> _Field:
    return _Field(offset, "I", meaning)


def _u64(offset: int, meaning: str) -> _Field:
    return _Field(offset, "Q", meaning)


class TcpInfo:
    """What the kernel knows of one TCP connection.  Times are in microseconds unless said."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw: Final = raw

    state = _u8(0, "State, as the row's own.")
    ca_state = _u8(1, "Congestion avoidance: 0 open, 1 disorder, 2 CWR, 3 recovery, 4 loss.")
    retransmits = _u8(2, "Timeouts in a row without an answer.")
    probes = _u8(3, "Zero-window or keepalive probes without an answer.")
    backoff = _u8(4, "Doublings of the retransmission timer.")
    options = _u8(5, "TCPI_OPT_* bits: timestamps, SACK, window scaling, ECN.")
    snd_wscale = _u8(6, "Window scale that the peer asked for.", bits=(0, 4))
    rcv_wscale = _u8(6, "Window scale that we asked for.", bits=(4, 4))
    delivery_rate_app_limited = _u8(7, "1 if the application sent less than it could.", bits=(0, 1))
    fastopen_client_fail = _u8(7, "Why TCP Fast Open failed, TFO_STATUS_*.", bits=(1, 2))
    rto = _u32(8, "Retransmission timeout.")
    ato = _u32(12, "Delayed ack timeout.")
    snd_mss = _u32(16, "Segment size for sending, bytes.")
    rcv_mss = _u32(20, "Segment size seen, bytes.")
    unacked = _u32(24, "Segments in flight; in LISTEN the accept queue's length.")
    sacked = _u32(28, "Segments selectively acked; in LISTEN the accept queue's limit.")
    lost = _u32(32, "Segments believed lost.")
    retrans = _u32(36, "Segments retransmitted and still in flight.")
    fackets = _u32(40, "Unused since Linux 4.15.")
    last_data_sent = _u32(44, "Since data was last sent, milliseconds.")
    last_ack_sent = _u32(48, "Never filled in.")
    last_data_recv = _u32(52, "Since data last came, milliseconds.")
    last_ack_recv = _u32(56, "Since an ack last came, milliseconds.")
    pmtu = _u32(60, "Path MTU, bytes.")
    rcv_ssthresh = _u32(64, "Current limit of the window we announce, bytes.")
    rtt = _u32(68, "Smoothed round-trip time.")
    rttvar = _u32(72, "Its mean deviation.")
    snd_ssthresh = _u32(76, "Slow start threshold, segments.")
    snd_cwnd = _u32(80, "Congestion window, segments.")
    advmss = _u32(84, "Segment size that we announced, bytes.")
    reordering = _u32(88, "Reordering seen, segments.")
    rcv_rtt = _u32(92, "Round-trip time as the receiver estimates it.")
    rcv_space = _u32(96, "Space for the receive buffer's autotuning, bytes.")
    total_retrans = _u32(100, "Segments retransmitted in all.")
    pacing_rate = _u64(104, "Bytes a second.")
    max_pacing_rate = _u64(112, "Bytes a second.")
    bytes_acked = _u64(120, "Bytes sent and acknowledged.")
    bytes_received = _u64(128, "Bytes received in order.")
    segs_out = _u32(136, "Segments sent.")
    segs_in = _u32(140, "Segments received.")
    notsent_bytes = _u32(144, "Bytes queued and not yet sent.")
    min_rtt = _u32(148, "Least round-trip time seen.")
    data_segs_in = _u32(152, "Segments with data received.")
    data_segs_out = _u32(156, "Segments with data sent.")
    delivery_rate = _u64(160, "Most recent delivery rate, bytes a second.")
    busy_time = _u64(168, "Time with data in flight.")
    rwnd_limited = _u64(176, "Time limited by the peer's window.")
    sndbuf_limited = _u64(184, "Time limited by our send buffer.")
    delivered = _u32(192, "Segments delivered, retransmissions included.")
    delivered_ce = _u32(196, "Of those, marked as congested.")
    bytes_sent = _u64(200, "Bytes sent, retransmissions included.")
    bytes_retrans = _u64(208, "Bytes retransmitted.")
    dsack_dups = _u32(216, "Duplicates that the peer reported.")
    reord_seen = _u32(220, "Times that reordering was seen.")
    rcv_ooopack = _u32(224, "Segments received out of order.")
    snd_wnd = _u32(228, "The peer's window, bytes.")
    rcv_wnd = _u32(232, "Our window, bytes (Linux 6.2).")
    rehash = _u32(236, "Times the flow's hash was changed to find another path (Linux 6.2).")
    total_rto = _u16(240, "Retransmission timeouts in all (Linux 6.7).")
    total_rto_recoveries = _u16(242, "Recoveries after such a timeout (Linux 6.7).")
    total_rto_time = _u32(244, "Time spent in them, milliseconds (Linux 6.7).")
    received_ce = _u32(248, "Segments received with a congestion mark (Linux 6.18).")
    delivered_e1_bytes = _u32(252, "Accurate ECN: bytes delivered as ECT(1) (Linux 6.18).")
    delivered_e0_bytes = _u32(256, "Accurate ECN: bytes delivered as ECT(0) (Linux 6.18).")
    delivered_ce_bytes = _u32(260, "Accurate ECN: bytes delivered as CE (Linux 6.18).")
    received_e1_bytes = _u32(264, "Accurate ECN: bytes received as ECT(1) (Linux 6.18).")
    received_e0_bytes = _u32(268, "Accurate ECN: bytes received as ECT(0) (Linux 6.18).")
    received_ce_bytes = _u32(272, "Accurate ECN: bytes received as CE (Linux 6.18).")
    accecn_fail_mode = _u16(276, "Accurate ECN: what failed in its negotiation (Linux 6.18).")
    accecn_opt_seen = _u16(278, "Accurate ECN: options seen (Linux 6.18).")

    @property
    def tail(self) -> bytes:
        """What a newer kernel put behind the last field known here."""
        return self.raw[KNOWN:]

    def as_dict(self) -> dict[str, int]:
        """The fields that the kernel gave, by name, in its order."""
        values = ((name, getattr(self, name)) for name in FIELDS)
        return {name: value for name, value in values if value is not None}

    def __repr__(self) -> str:
        return f"TcpInfo({', '.join(f'{k}={v}' for k, v in self.as_dict().items())})"

    def __eq__(self, other: object) -> bool:
        return self.raw == other.raw if isinstance(other, TcpInfo) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.raw)


FIELDS: Final = tuple(name for name, value in vars(TcpInfo).items() if isinstance(value, _Field))
KNOWN: Final = max(vars(TcpInfo)[name].end for name in FIELDS)
