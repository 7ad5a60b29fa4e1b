"""Where the tests run: as root, in namespaces of their own that end with them.

Without root, the whole run first enters a user namespace in which it is root.  Each process of the
run then has a network namespace with loopback up, and a mount namespace with a /run of its own, so
that nothing here touches the machine and no two workers meet.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import pytest

import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator


# A busy machine is no failure: what is slow is a benchmark's to say.
hypothesis.settings.register_profile("netlink_safe", deadline=None, max_examples=200)
hypothesis.settings.load_profile("netlink_safe")


def pytest_configure(config: pytest.Config) -> None:
    """Enter the namespaces before anything starts a thread."""
    if os.geteuid() != 0:
        kernel.become_root_of_a_user_namespace()
    kernel.enter_own_namespaces()


@pytest.fixture(autouse=True)
def _network_of_its_own() -> None:
    """No test meets the sockets that another one closed and the kernel still remembers."""
    kernel.unshare(kernel.CLONE_NEWNET)
    kernel.set_up_loopback()


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Every test gives back the descriptors that it took."""
    before = kernel.descriptors()
    yield
    assert kernel.descriptors() - before == set()
