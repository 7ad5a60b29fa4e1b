"""Where the tests run: as root, in namespaces of their own that end with them.

Without root, the whole run first enters a user namespace in which it is root.  Each process of the
run then has a network namespace with loopback up, and a mount namespace with a /run of its own, so
that nothing here touches the machine and no two workers meet.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import TYPE_CHECKING

import hypothesis
import pytest

import kernel
from links import two
from many_sockets import many, one_datagram_at_a_time
from outboxes import sleeper
from tcp_states import family
from uevents import links, sysfs
from watching_locks import nothing_held_at_the_end
from worlds import world

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Fixtures.
__all__ = [
    "family",
    "links",
    "many",
    "nothing_held_at_the_end",
    "one_datagram_at_a_time",
    "sleeper",
    "sysfs",
    "two",
    "world",
]

# A busy machine is no failure: what is slow is a benchmark's to say.
hypothesis.settings.register_profile("netlink_safe", deadline=None, max_examples=200)
hypothesis.settings.register_profile("emulated", deadline=None, max_examples=20)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=20_000)
hypothesis.settings.load_profile(os.environ.get("NETLINK_SAFE_HYPOTHESIS", "netlink_safe"))


def pytest_configure(config: pytest.Config) -> None:
    """Enter the namespaces before anything starts a thread."""
    if sys.dont_write_bytecode and config.pluginmanager.has_plugin("cacheprovider"):
        with contextlib.suppress(OSError):  # it is another user's
            _keep_bytecode_in(str(config.cache.mkdir("bytecode")))
    if config.getoption("dist", "no") == "load":  # a worker's last tests may be the longest
        config.option.dist = "worksteal"
    if os.geteuid() != 0:
        kernel.become_root_of_a_user_namespace()
    kernel.enter_own_namespaces()


def _keep_bytecode_in(directory: str) -> None:
    """Where none is to be written beside the sources every program of a test would compile them."""
    sys.dont_write_bytecode = False
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = directory
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is there before the first test is no garbage: looks for that need not go through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _network_of_its_own() -> None:
    """No test meets the sockets that another one closed and the kernel still remembers."""
    kernel.unshare(kernel.CLONE_NEWNET)
    kernel.set_up_loopback()


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Every test gives back the descriptors that it took, if by a thread that is let go."""
    before = kernel.descriptors_and_garbage()
    yield
    if kernel.descriptors_and_garbage() - before:
        with contextlib.suppress(AssertionError):
            kernel.until(lambda: not kernel.descriptors() - before)
        assert kernel.descriptors() - before == set()
