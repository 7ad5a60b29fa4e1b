"""Names of network devices, as the kernel measures them: in bytes.

Calls nothing of ours.
"""

from __future__ import annotations

from typing import Any, Final

#: IFNAMSIZ and ALTIFNAMSIZ of ``include/uapi/linux/if.h``, without the NUL.
LONGEST: Final = 15
LONGEST_ALTERNATIVE: Final = 127


def size_of(name: Any) -> int:
    """How many bytes a name has; 0 of what can be none."""
    if not isinstance(name, str) or "\0" in name:
        return 0
    try:
        return len(name.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # half a letter that stands for no byte
        return 0
