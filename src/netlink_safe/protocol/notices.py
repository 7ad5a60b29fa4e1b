"""What a stream of notifications says of itself, between those of the kernel.

May call nothing of the library.
"""

from __future__ import annotations

import attrs


@attrs.frozen(slots=True)
class Overrun:
    """Notifications were lost for want of room in the receive buffer; ``drops`` counts them.

    What was queued before them has been handed out.  What follows now is the difference that a
    look at sysfs showed, and then Resynced; or, where that look was not to be had, nothing, and
    ``unresynced`` says why.
    """

    drops: int
    unresynced: str | None = None


@attrs.frozen(slots=True)
class Resynced:
    """The difference has been told: ``added`` and ``removed`` count its events.

    From here on the listener's picture is the kernel's again.
    """

    added: int
    removed: int
