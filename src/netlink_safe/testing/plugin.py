"""A plugin for pytest: watched locks raise, and a test that leaves a socket open fails.

::

    pytest -p netlink_safe.testing.plugin

or ``pytest_plugins = ["netlink_safe.testing.plugin"]`` in the topmost conftest.py.

While it is loaded, ``NETLINK_SAFE_LOCKS`` is ``raise``, whatever the environment says.
A socket that a fixture of a larger scope keeps open is no test's own, and is left alone.

May call ``transport.census`` and ``transport.locks``.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from netlink_safe.transport.census import census
from netlink_safe.transport.locks import CHOICES, SWITCH

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_configure(config: pytest.Config) -> None:
    """Have a wait under a watched lock raise."""
    patch = pytest.MonkeyPatch()
    patch.setenv(SWITCH, CHOICES[0])
    config.add_cleanup(patch.undo)


@pytest.fixture(autouse=True)
def netlink_safe_leaks() -> Iterator[None]:
    """Fail a test that leaves a socket or an outbox of the library open."""
    before = _open()
    yield
    if _open() - before:
        gc.collect()  # what nobody holds any more is closed with it
    left = _open() - before
    if left:
        told = ", ".join(what for what, _ in sorted(left))
        pytest.fail(f"this test left open: {told}; enter what it opens by 'with', or close it")


def _open() -> set[tuple[str, int]]:
    """What is open, and what tells it from others of its kind: a port ID, or how many there are."""
    now = census()
    sockets = {(f"a socket for {each.kind}", each.port_id) for each in now.sockets}
    return sockets | {("an outbox", number) for number in range(len(now.outboxes))}
