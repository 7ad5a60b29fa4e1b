"""struct tcp_info, every field that the kernel gave (``include/uapi/linux/tcp.h``).

May call ``families.growing``.
"""

from __future__ import annotations

from typing import Final

from netlink_safe.families.growing import Field, GrowingStructure, u8, u16, u32, u64


class TcpInfo(GrowingStructure):
    """What the kernel knows of one TCP connection (``net/ipv4/tcp.c``: tcp_get_info).

    Times are in microseconds unless said.  A field that the running kernel does not give is None.
    """

    __slots__ = ()

    state: Field = u8(0, "State, as the row's own.")
    ca_state: Field = u8(1, "Congestion avoidance: 0 open, 1 disorder, 2 CWR, 3 recovery, 4 loss.")
    retransmits: Field = u8(2, "Timeouts in a row without an answer.")
    probes: Field = u8(3, "Zero-window or keepalive probes without an answer.")
    backoff: Field = u8(4, "Doublings of the retransmission timer.")
    options: Field = u8(5, "TCPI_OPT_* bits: timestamps, SACK, window scaling, ECN.")
    snd_wscale: Field = u8(6, "Window scale that the peer asked for.", bits=(0, 4))
    rcv_wscale: Field = u8(6, "Window scale that we asked for.", bits=(4, 4))
    delivery_rate_app_limited: Field = u8(
        7, "1 if the application sent less than it could.", bits=(0, 1)
    )
    fastopen_client_fail: Field = u8(7, "Why TCP Fast Open failed, TFO_STATUS_*.", bits=(1, 2))
    rto: Field = u32(8, "Retransmission timeout.")
    ato: Field = u32(12, "Delayed ack timeout.")
    snd_mss: Field = u32(16, "Segment size for sending, bytes.")
    rcv_mss: Field = u32(20, "Segment size seen, bytes.")
    unacked: Field = u32(24, "Segments in flight; in LISTEN the accept queue's length.")
    sacked: Field = u32(28, "Segments selectively acked; in LISTEN the accept queue's limit.")
    lost: Field = u32(32, "Segments believed lost.")
    retrans: Field = u32(36, "Segments retransmitted and still in flight.")
    fackets: Field = u32(40, "Unused since Linux 4.15.")
    last_data_sent: Field = u32(44, "Since data was last sent, milliseconds.")
    last_ack_sent: Field = u32(48, "Never filled in.")
    last_data_recv: Field = u32(52, "Since data last came, milliseconds.")
    last_ack_recv: Field = u32(56, "Since an ack last came, milliseconds.")
    pmtu: Field = u32(60, "Path MTU, bytes.")
    rcv_ssthresh: Field = u32(64, "Current limit of the window we announce, bytes.")
    rtt: Field = u32(68, "Smoothed round-trip time.")
    rttvar: Field = u32(72, "Its mean deviation.")
    snd_ssthresh: Field = u32(76, "Slow start threshold, segments.")
    snd_cwnd: Field = u32(80, "Congestion window, segments.")
    advmss: Field = u32(84, "Segment size that we announced, bytes.")
    reordering: Field = u32(88, "Reordering seen, segments.")
    rcv_rtt: Field = u32(92, "Round-trip time as the receiver estimates it.")
    rcv_space: Field = u32(96, "Space for the receive buffer's autotuning, bytes.")
    total_retrans: Field = u32(100, "Segments retransmitted in all.")
    pacing_rate: Field = u64(104, "Bytes a second.")
    max_pacing_rate: Field = u64(112, "Bytes a second.")
    bytes_acked: Field = u64(120, "Bytes sent and acknowledged.")
    bytes_received: Field = u64(128, "Bytes received in order.")
    segs_out: Field = u32(136, "Segments sent.")
    segs_in: Field = u32(140, "Segments received.")
    notsent_bytes: Field = u32(144, "Bytes queued and not yet sent.")
    min_rtt: Field = u32(148, "Least round-trip time seen.")
    data_segs_in: Field = u32(152, "Segments with data received.")
    data_segs_out: Field = u32(156, "Segments with data sent.")
    delivery_rate: Field = u64(160, "Most recent delivery rate, bytes a second.")
    busy_time: Field = u64(168, "Time with data in flight.")
    rwnd_limited: Field = u64(176, "Time limited by the peer's window.")
    sndbuf_limited: Field = u64(184, "Time limited by our send buffer.")
    delivered: Field = u32(192, "Segments delivered, retransmissions included.")
    delivered_ce: Field = u32(196, "Of those, marked as congested.")
    bytes_sent: Field = u64(200, "Bytes sent, retransmissions included.")
    bytes_retrans: Field = u64(208, "Bytes retransmitted.")
    dsack_dups: Field = u32(216, "Duplicates that the peer reported.")
    reord_seen: Field = u32(220, "Times that reordering was seen.")
    rcv_ooopack: Field = u32(224, "Segments received out of order.")
    snd_wnd: Field = u32(228, "The peer's window, bytes.")
    rcv_wnd: Field = u32(232, "Our window, bytes (Linux 6.2).")
    rehash: Field = u32(236, "Times the flow's hash was changed to find another path (Linux 6.2).")
    total_rto: Field = u16(240, "Retransmission timeouts in all (Linux 6.7).")
    total_rto_recoveries: Field = u16(242, "Recoveries after such a timeout (Linux 6.7).")
    total_rto_time: Field = u32(244, "Time spent in them, milliseconds (Linux 6.7).")
    received_ce: Field = u32(248, "Segments received with a congestion mark (Linux 6.18).")
    delivered_e1_bytes: Field = u32(252, "Accurate ECN: bytes delivered as ECT(1) (Linux 6.18).")
    delivered_e0_bytes: Field = u32(256, "Accurate ECN: bytes delivered as ECT(0) (Linux 6.18).")
    delivered_ce_bytes: Field = u32(260, "Accurate ECN: bytes delivered as CE (Linux 6.18).")
    received_e1_bytes: Field = u32(264, "Accurate ECN: bytes received as ECT(1) (Linux 6.18).")
    received_e0_bytes: Field = u32(268, "Accurate ECN: bytes received as ECT(0) (Linux 6.18).")
    received_ce_bytes: Field = u32(272, "Accurate ECN: bytes received as CE (Linux 6.18).")
    accecn_fail_mode: Field = u16(276, "Accurate ECN: what failed in its negotiation (Linux 6.18).")
    accecn_opt_seen: Field = u16(278, "Accurate ECN: options seen (Linux 6.18).")


FIELDS: Final = TcpInfo.FIELDS
KNOWN: Final = TcpInfo.KNOWN
