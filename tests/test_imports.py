"""What is loaded when, and who may import whom."""

from __future__ import annotations

import inspect
import pathlib
import re
import subprocess
import sys
from importlib import import_module
from pkgutil import iter_modules

import pytest

import netlink_safe
from netlink_safe import aio, blocking

HEAVY = ("anyio", "asyncio", "trio", "pyroute2", "rich")


def loaded_by(program: str) -> set[str]:
    """The heavy modules that a program has loaded at its end."""
    shown = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(shown.stdout.splitlines()[-1].split()) & set(HEAVY)


@pytest.mark.parametrize(
    "program",
    [
        "import netlink_safe",
        "import netlink_safe.blocking",
        "from netlink_safe.collectors import tcpstat; tcpstat.collect_blocking()",
        "import netlink_safe.cli.main, netlink_safe.cli.tcpstat",
        "from netlink_safe import NetlinkTimeout, tcp_sockets",
        (
            "from netlink_safe import blocking\n"
            "with blocking.open_sock_diag() as diag: list(diag.dump(blocking.tcp_sockets()))"
        ),
    ],
)
def test_blocking_code_loads_no_event_loop(program: str) -> None:
    """Nor codecs, nor anything that draws: a small process stays small."""
    assert loaded_by(program) == set()


def test_the_async_surface_loads_only_the_backend_that_runs() -> None:
    """On trio, asyncio is anyio's affair; pyroute2 is nobody's."""
    program = """
import anyio
from netlink_safe.collectors import tcpstat
anyio.run(tcpstat.collect, backend="asyncio")
"""
    assert loaded_by(program) & {"trio", "pyroute2", "rich"} == set()


def test_every_public_name_is_there() -> None:
    """The table of lazy names holds only what exists, and what type checkers are told."""
    for name in netlink_safe.__all__:
        assert getattr(netlink_safe, name) is not None
    assert set(netlink_safe.__all__) <= set(dir(netlink_safe))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = netlink_safe.nothing
    source = pathlib.Path(netlink_safe.__file__).read_text("utf-8")
    for name in netlink_safe.__all__:
        assert name == "__version__" or f" as {name}\n" in source


def test_the_blocking_surface_has_the_same_names() -> None:
    """What the async surface opens, the blocking one opens too."""
    source = pathlib.Path(blocking.__file__).read_text("utf-8")
    assert {*netlink_safe.__all__} - {"__version__"} <= {*blocking.__all__}
    for name in blocking.__all__:
        assert getattr(blocking, name) is not None
        assert re.search(rf"import .*\b{name}\b", source), f"type checkers miss {name}"
    for name in ("open_sock_diag", "SockDiag", "Dump", "open_generic", "delete_link", "Outbox"):
        assert getattr(blocking, name) is not getattr(netlink_safe, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = blocking.nothing


def public(kind: type) -> dict[str, list[str]]:
    """The verbs of a class that are its own, and their parameters; closing by one name."""
    return {
        "close" if name == "aclose" else name: list(inspect.signature(value).parameters)
        for name, value in vars(kind).items()
        if not name.startswith("_") and inspect.isfunction(value)
    }


@pytest.mark.parametrize("room", [found.name for found in iter_modules(aio.__path__)])
def test_the_verbs_of_both_surfaces_are_the_same(room: str) -> None:
    """Close is aclose; all else has one name and one set of parameters."""
    if room == "waiting":
        return  # how each waits is its own affair
    ours = import_module(f"netlink_safe.aio.{room}")
    theirs = import_module(f"netlink_safe.blocking.{room}")
    for name, thing in vars(ours).items():
        if name.startswith("_") or getattr(thing, "__module__", "") != ours.__name__:
            continue
        twin = getattr(theirs, name)
        if inspect.isclass(thing):
            assert public(thing) == public(twin), name
        elif inspect.isfunction(thing):
            assert inspect.signature(thing).parameters == inspect.signature(twin).parameters, name
