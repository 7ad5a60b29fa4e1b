"""The host's own test run does not go into ``guest``: those tests plug real devices."""

from __future__ import annotations

collect_ignore = ["guest"]
