"""What is said by True or False is one of them."""

from __future__ import annotations

import pytest

from netlink_safe.errors import LocalProtocolError
from netlink_safe.protocol.arguments import check_truth


def test_true_and_false_pass() -> None:
    """Both, and several at once."""
    check_truth()
    check_truth(strict=True, coldplug=False)


@pytest.mark.parametrize("value", ["no", "", 0, 1, None, b"x"])
def test_what_is_neither_is_refused_by_its_name(value: object) -> None:
    """The first of them, also what Python would take for one of both."""
    with pytest.raises(LocalProtocolError) as raised:
        check_truth(strict=False, coldplug=value, more=value)  # type: ignore[arg-type]  # nonsense
    assert str(raised.value) == f"coldplug={value!r} is neither True nor False"
