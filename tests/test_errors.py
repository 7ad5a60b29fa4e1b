"""Errors as values: what they are made of goes wherever they go."""

from __future__ import annotations

import pickle

import pytest

import netlink_safe as nls
from netlink_safe.aio.waiting import AsyncBusyError


@pytest.mark.anywhere
def test_errors_survive_pickling() -> None:
    """They come whole out of another process."""
    timeout = nls.NetlinkTimeout("a reply", 2.0, attempts=3, outcome="unknown")
    refused = nls.KernelError(22, "a dump", nls.ExtendedAck("no such thing"))
    missing = nls.NotSupported(2, "a feature", "6.8")
    for error in (timeout, refused, missing, nls.DecodeError("bad", 3, (1, 2)), AsyncBusyError()):
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)
        assert getattr(copy, "errno", None) == getattr(error, "errno", None)
