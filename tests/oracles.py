"""What others say of the same sockets: the kernel's own tables as text, and ss where it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from typing import Final

#: The numbers of /proc/net/tcp and the words of ss, for the states that both can show.
NAMES: Final = {
    1: "established",
    2: "syn_sent",
    3: "syn_recv",
    4: "fin_wait1",
    5: "fin_wait2",
    6: "time_wait",
    7: "close",
    8: "close_wait",
    9: "last_ack",
    10: "listen",
    11: "closing",
    12: "syn_recv",
}
SS_NAMES: Final = {
    "ESTAB": "established",
    "SYN-SENT": "syn_sent",
    "SYN-RECV": "syn_recv",
    "FIN-WAIT-1": "fin_wait1",
    "FIN-WAIT-2": "fin_wait2",
    "TIME-WAIT": "time_wait",
    "UNCONN": "close",
    "CLOSE-WAIT": "close_wait",
    "LAST-ACK": "last_ack",
    "LISTEN": "listen",
    "CLOSING": "closing",
}
#: CI installs ss, and there its absence is a failure.
SS: Final = shutil.which("ss") or shutil.which("ss", path="/usr/sbin:/sbin:/usr/bin:/bin")
MUST_HAVE_SS: Final = "NETLINK_SAFE_REQUIRE_SS" in os.environ


def proc_states(family: str) -> Counter[str]:
    """States in /proc/net/tcp or tcp6 of the calling thread's network namespace."""
    name = {"inet": "tcp", "inet6": "tcp6"}[family]
    with open(f"/proc/thread-self/net/{name}", encoding="ascii") as file:
        next(file)
        return Counter(NAMES[int(line.split()[3], 16)] for line in file)


def proc_queues(family: str) -> tuple[int, int]:
    """Receive and transmit queue bytes in the same, listeners left out."""
    name = {"inet": "tcp", "inet6": "tcp6"}[family]
    receive = transmit = 0
    with open(f"/proc/thread-self/net/{name}", encoding="ascii") as file:
        next(file)
        for line in file:
            words = line.split()
            if words[3] != "0A":
                first, second = words[4].split(":")
                transmit += int(first, 16)
                receive += int(second, 16)
    return receive, transmit


def ss_lines(*options: str) -> list[str] | None:
    """What ss shows, a line for each socket, or None where there is no ss."""
    if SS is None:
        assert not MUST_HAVE_SS, "ss is not installed (Debian: iproute2)"
        return None
    shown = subprocess.run([SS, "-HOn", *options], capture_output=True, check=True)
    return shown.stdout.decode("utf-8", "surrogateescape").splitlines()


def ss_memory(line: str) -> tuple[int, ...]:
    """The numbers of ``skmem:``, in the order of the SK_MEMINFO_* words."""
    found = re.search(r"skmem:\(([^)]*)\)", line)
    assert found is not None, line
    return tuple(int(word.lstrip("abcdefghijklmnopqrstuvwxyz")) for word in found[1].split(","))


def ss_states(family: str) -> Counter[str] | None:
    """States that ss shows, or None where there is no ss."""
    lines = ss_lines("-ta", {"inet": "-4", "inet6": "-6"}[family])
    return None if lines is None else Counter(SS_NAMES[line.split()[0]] for line in lines)


def ss_rows(option: str) -> Counter[tuple[str, str, str]] | None:
    """State, source and destination of what ss shows with an option, or None without ss.

    A port that is none is 0, and any address at all, of a dual-stack socket, is that of IPv6;
    associations of SCTP are left out.
    """
    if SS is None:
        assert not MUST_HAVE_SS, "ss is not installed (Debian: iproute2)"
        return None
    shown = subprocess.run([SS, "-Hna", option], capture_output=True, text=True, check=True)
    found: Counter[tuple[str, str, str]] = Counter()
    for line in shown.stdout.splitlines():
        if not line.lstrip().startswith("`"):
            state, _, _, here, there, *_ = line.split()
            found[SS_NAMES[state], _with_port(here), _with_port(there)] += 1
    return found


def proc_rows(name: str) -> Counter[tuple[int, int]]:
    """Port and inode of each line of a table in /proc/net, such as udp6."""
    with open(f"/proc/thread-self/net/{name}", encoding="ascii") as file:
        next(file)
        words = [line.split() for line in file]
    return Counter((int(each[1].rpartition(":")[2], 16), int(each[9])) for each in words)


def _with_port(shown: str) -> str:
    address, _, port = shown.rpartition(":")
    return f"{address.replace('*', '[::]')}:{0 if port == '*' else port}"
