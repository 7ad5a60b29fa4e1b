"""How long names of network devices can be, in bytes without the NUL.

IFNAMSIZ and ALTIFNAMSIZ of ``include/uapi/linux/if.h``.  Calls nothing of ours.
"""

from __future__ import annotations

from typing import Final

LONGEST: Final = 15
LONGEST_ALTERNATIVE: Final = 127
