"""What is wrong, out of what was seen: every rule, and the worst first.

May call ``doctor``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from netlink_safe.doctor import receive_rules, send_rules, system_rules, thread_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netlink_safe.doctor.observation import Observation
    from netlink_safe.doctor.report import Finding

RULES: Final[tuple[Callable[[Observation], Iterator[Finding]], ...]] = (
    send_rules.blocked_senders,
    thread_rules.hanging_receives,
    receive_rules.stalled_dumps,
    receive_rules.dropping,
    receive_rules.backlogs,
    receive_rules.small_receive_buffers,
    system_rules.ports_with_a_far_end,
    system_rules.limits,
)


def findings(seen: Observation) -> tuple[Finding, ...]:
    """What every rule finds, the worst first."""
    found = [finding for rule in RULES for finding in rule(seen)]
    return tuple(sorted(found, key=lambda finding: -finding.severity))
