"""Codecs of others: what they are given, what they refuse, and what their attributes are called."""

from __future__ import annotations

import ast
import struct
from functools import partial
from typing import Any, ClassVar

import pytest

from netlink_safe.errors import DecodeError, LocalProtocolError
from netlink_safe.protocol.codec import checked_codec, decoded, encoded, names_of
from netlink_safe.wire.attributes import Attributes
from netlink_safe.wire.generic import build_generic, parse_generic
from netlink_safe.wire.header import build_message
from netlink_safe.wire.pyroute2 import pyroute2_codec
from netlink_safe.wire.values import decode_values

pytestmark = pytest.mark.anywhere


class Inner:
    """A nest of numbers."""

    nla_map = (("IN_NOTHING", "none"), ("IN_NUMBER", "uint32"), ("IN_DEEPER", "nested"))


class Fielded(Inner):
    """A nest with a struct of its own before the attributes."""

    fields = (("number", "I"),)


class Scalar:
    """What is called a nest and is a value."""

    fields = (("value", "I"),)
    nla_map = (("SCALAR_NOTHING", "none"),)


class Own(Inner):
    """A nest that its class encodes in its own way."""

    def encode(self) -> None:
        raise NotImplementedError


class Looked(dict[str, Any]):
    """A codec whose bytes are what it was given, to be looked at."""

    fields = (("cmd", "B"), ("version", "B"), ("reserved", "H"), ("ifindex", "I"))

    def __init__(self, data: bytes = b"") -> None:
        super().__init__()
        self.data = data

    def encode(self) -> None:
        self.data = b"H" * 16 + repr(dict(self)).encode()

    def decode(self) -> None:
        if self.data[16:17] == b"\0":
            raise KeyError("no such command")
        self["cmd"] = self.data[16]


class Told(Looked):
    """One of a family with nests of every kind."""

    nla_map: ClassVar[Any] = (
        ("A_NOTHING", "none"),
        ("A_NUMBER", "uint32"),
        ("A_NEST", "inner(1, 2)"),
        ("A_LIST", "*inner|flags"),
        ("A_FIELDED", "fielded"),
        ("A_SCALAR", "scalar"),
        ("A_OWN", "own"),
        ("A_ITSELF", "recursive"),
        ("A_X", "*XNest"),
    )
    inner, fielded, scalar, own, XNest = Inner, Fielded, Scalar, Own, Inner


class Plain(Looked):
    """One without a table of its attributes."""

    nla_map = None


class Numbered(Looked):
    """One whose table says the numbers."""

    nla_map = ((5, "N_NUMBER", "uint32"), (0x20, "N_NEST", "inner"))
    inner = Inner


def given(attributes: Any, codec: Any = Told, **fields: Any) -> Any:
    """What a codec was given, as it stood when it was to be encoded."""
    told: dict[str, Any] = ast.literal_eval(encoded(codec, 7, 2, attributes, **fields).decode())
    assert (told.pop("cmd"), told.pop("version")) == (7, 2)
    assert list(told) == [*fields, "attrs"]
    return told["attrs"] if not fields else told


PAIRS = [("A_NUMBER", 1), ("A_NUMBER", 2)]


@pytest.mark.parametrize(
    ("attributes", "attrs"),
    [
        ({"A_NUMBER": 1}, [("A_NUMBER", 1)]),
        (PAIRS, PAIRS),
        ([["A_NUMBER", 1, "flag", 5]], [("A_NUMBER", 1, "flag", 5)]),
        ({"A_NEST": {"IN_NUMBER": 1}}, [("A_NEST", {"attrs": [("IN_NUMBER", 1)]})]),
        ({"A_NEST": [("IN_NUMBER", 1)]}, [("A_NEST", {"attrs": [("IN_NUMBER", 1)]})]),
        ({"A_NEST": []}, [("A_NEST", {"attrs": []})]),
        ({"A_NEST": {}}, [("A_NEST", {"attrs": []})]),
        ({"A_NEST": {"attrs": {"IN_NUMBER": 1}}}, [("A_NEST", {"attrs": [("IN_NUMBER", 1)]})]),
        (
            {"A_NEST": {"IN_DEEPER": (("IN_NUMBER", 1),)}},
            [("A_NEST", {"attrs": [("IN_DEEPER", {"attrs": [("IN_NUMBER", 1)]})]})],
        ),
        (
            {"A_LIST": ({"IN_NUMBER": 1}, [("IN_NUMBER", 2)])},
            [("A_LIST", [{"attrs": [("IN_NUMBER", 1)]}, {"attrs": [("IN_NUMBER", 2)]}])],
        ),
        ({"A_LIST": []}, [("A_LIST", [])]),
        (
            {"A_FIELDED": {"number": 3, "header": {"type": 1}, "IN_NUMBER": 1}},
            [("A_FIELDED", {"number": 3, "header": {"type": 1}, "attrs": [("IN_NUMBER", 1)]})],
        ),
        (
            {"A_FIELDED": {"number": 3, "attrs": [("IN_NUMBER", 1)]}},
            [("A_FIELDED", {"number": 3, "attrs": [("IN_NUMBER", 1)]})],
        ),
        ({"A_SCALAR": 5}, [("A_SCALAR", 5)]),
        ({"A_OWN": {"any": "thing"}}, [("A_OWN", {"any": "thing"})]),
        ({"A_ITSELF": {"A_NUMBER": 1}}, [("A_ITSELF", {"attrs": [("A_NUMBER", 1)]})]),
    ],
)
def test_attributes_are_spelled_out_for_a_codec(attributes: Any, attrs: Any) -> None:
    """Pairs at the top, and below it mappings with pairs in "attrs"; what it encodes stays."""
    assert given(attributes) == attrs


def test_fields_of_the_familys_own_are_set() -> None:
    """Beside command and version."""
    assert given({"A_NUMBER": 1}, ifindex=9) == {"ifindex": 9, "attrs": [("A_NUMBER", 1)]}


def test_without_a_table_any_name_is_passed_on() -> None:
    """Nothing is known of what is nested, either."""
    assert given({"WHATEVER": {"a": 1}}, Plain) == [("WHATEVER", {"a": 1})]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ([1], "1 is no pair of an attribute's name and its value"),
        (["AB"], "'AB' is no pair of an attribute's name and its value"),
        ([("A_NUMBER",)], "('A_NUMBER',) is no pair of an attribute's name and its value"),
        ([(1, 2)], "(1, 2) is no pair of an attribute's name and its value"),
        ({"A_NONE": 1}, "Told knows no attribute 'A_NONE'"),
        ({"A_NEST": {"A_NUMBER": 1}}, "Inner knows no attribute 'A_NEST.A_NUMBER'"),
        ({"A_NEST": 5}, "A_NEST is nested: give its attributes by name, not 5"),
        ({"A_NEST": [1]}, "A_NEST is nested: give its attributes by name, not [1]"),
        (
            {"A_NEST": {"IN_DEEPER": 5}},
            "A_NEST.IN_DEEPER is nested: give its attributes by name, not 5",
        ),
        ({"A_LIST": {}}, "A_LIST is a list of nests, and not {}"),
        (
            {"A_LIST": [("IN_NUMBER", 1)]},
            "A_LIST is a list of nests, and not [('IN_NUMBER', 1)]",
        ),
        ({"A_LIST": [{}, {"NONE": 1}]}, "Inner knows no attribute 'A_LIST.NONE'"),
        (
            {"A_FIELDED": {"other": 1, "attrs": []}},
            "A_FIELDED has no field 'other' beside its attributes",
        ),
        ({"A_FIELDED": {"other": 1}}, "Fielded knows no attribute 'A_FIELDED.other'"),
    ],
)
def test_what_a_codec_would_leave_out_is_refused_in_these_words(
    attributes: Any, words: str
) -> None:
    """By the path that leads there."""
    with pytest.raises(LocalProtocolError) as error:
        encoded(Told, 7, 2, attributes)
    assert str(error.value) == words


@pytest.mark.parametrize("name", ["cmd", "reserved", "attrs", "other"])
def test_what_is_no_field_of_the_familys_own_is_refused(name: str) -> None:
    """Those of the generic header are said in another place."""
    fields: dict[str, Any] = {"ifindex": 1, name: 1}
    with pytest.raises(LocalProtocolError, match=f"^Told has no field '{name}'$"):
        encoded(Told, 7, 2, {}, **fields)


def test_what_a_codec_cannot_encode_is_said_with_its_own_words() -> None:
    """Whatever it raises."""

    class Failing(Told):
        def encode(self) -> None:
            raise ZeroDivisionError("by nothing")

    with pytest.raises(LocalProtocolError) as error:
        encoded(Failing, 7, 2, {"A_NUMBER": 1})
    assert str(error.value).endswith(
        "Failing cannot encode {'A_NUMBER': 1}: ZeroDivisionError('by nothing')"
    )
    assert isinstance(error.value.__cause__, ZeroDivisionError)
    with pytest.raises(LocalProtocolError, match="cannot encode 5: TypeError"):
        encoded(Plain, 7, 2, 5)  # type: ignore[arg-type]


def test_a_codec_without_a_name_is_named_by_what_it_is() -> None:
    """Such as a class that was given some of its arguments."""
    codec = partial(Told)
    with pytest.raises(LocalProtocolError) as error:
        encoded(codec, 7, 2, {"A_NONE": 1}, other=1)
    assert str(error.value) == f"{codec!r} has no field 'other'"


def no_codec(*_: object) -> None:
    """Makes nothing."""


@pytest.mark.parametrize("codec", [5, "ethtool", no_codec, dict, lambda: 1 // 0])
def test_what_makes_no_messages_is_no_codec(codec: Any) -> None:
    """It is shown, and what would do."""
    with pytest.raises(LocalProtocolError) as error:
        checked_codec(codec)
    assert str(error.value) == (
        f"{codec!r} is no codec: give a class such as pyroute2's genlmsg classes, whose messages "
        "encode() and decode()"
    )
    with pytest.raises(LocalProtocolError, match="is no codec"):
        encoded(codec, 7, 2, {})


@pytest.mark.parametrize("verb", ["encode", "decode", "__setitem__"])
def test_a_codec_lacks_no_verb(verb: str) -> None:
    """One that has all three is given back."""
    verbs = dict.fromkeys(("encode", "decode", "__setitem__"), no_codec)
    whole: Any = type("Whole", (), verbs)
    assert checked_codec(whole) is whole
    del verbs[verb]
    lacking: Any = type("Lacking", (), verbs)
    with pytest.raises(LocalProtocolError, match="is no codec"):
        checked_codec(lacking)


def test_a_message_is_read_by_its_codec() -> None:
    """From its own first byte on, headers and all; what it raises is a DecodeError."""
    good, bad = (
        bytes(8) + build_message(30, 0, 0, 0, build_generic(command, 1, b"", b""))
        for command in (7, 0)
    )
    assert decoded(Told, parse_generic(good, 8, len(good), 0)) == {"cmd": 7}
    with pytest.raises(DecodeError) as error:
        decoded(Told, parse_generic(bad, 8, len(bad), 0))
    assert error.value.reason == "what Told cannot read (KeyError('no such command'))"
    assert error.value.offset == 0
    assert isinstance(error.value.__cause__, KeyError)


def test_names_lead_from_level_to_level() -> None:
    """Down a nest, round in one that holds itself, and to None where nothing is nested."""
    names = names_of(Told)
    assert names is not None
    assert list(names) == list(range(9))
    assert len(names) == 9
    assert names[1] == ("A_NUMBER", None)
    for type_, name in ((2, "A_NEST"), (3, "A_LIST"), (8, "A_X")):
        called, inside = names[type_]
        assert called == name
        assert inside[1] == ("IN_NUMBER", None)
        assert inside[2][1][1] == ("IN_NUMBER", None)
    assert names[7][1][1] == ("A_NUMBER", None)
    numbered = names_of(Numbered)
    assert numbered is not None
    assert list(numbered) == [5, 0x20]
    assert numbered[0x20][1][1] == ("IN_NUMBER", None)
    assert (names_of(Plain), names_of(5)) == (None, None)


def test_pyroute2s_codec_makes_the_kernels_bytes() -> None:
    """A list of nests is numbered; netlink's own header is left out."""
    peers = [{"WGPEER_A_FLAGS": 1}, {"WGPEER_A_FLAGS": 2}]
    told = encoded(
        pyroute2_codec("wireguard"), 1, 3, {"WGDEVICE_A_IFINDEX": 5, "WGDEVICE_A_PEERS": peers}
    )
    assert told[:4] == build_generic(1, 3, b"", b"")
    values = decode_values(Attributes(told, 4, len(told)), None)
    flags = [{3: struct.pack("=I", number)} for number in (1, 2)]
    assert values == {1: struct.pack("=I", 5), 8: dict(enumerate(flags, 1))}
