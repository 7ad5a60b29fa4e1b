"""A plugin for pytest on an emulated processor, in place of the ordinary conftest.

Of netlink's families qemu-user has few, and changes what they say; so the tests that run here are
those that are marked ``anywhere``, and the kernel of a contract is the scripted one.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

import conftest  # for hypothesis' profiles; its fixtures are left where they are
from netlink_safe.testing import ScriptedKernel
from netlink_safe.transport.machine import POINTER_BITS
from worlds import Scripted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worlds import World

__all__ = ["conftest"]


def pytest_report_header() -> str:
    """What the tests ran on."""
    return f"machine: {os.uname().machine}, {POINTER_BITS} bits, {sys.byteorder}-endian"


@pytest.fixture
def world() -> Iterator[World]:
    """The scripted one."""
    with ScriptedKernel() as kernel:
        yield Scripted(kernel)
