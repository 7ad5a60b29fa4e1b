"""The site: Sphinx, MyST and furo, built without a network; tests/test_docs.py builds it.

What autodoc cannot know is at the end: where a public name lives, that a base of no public name is
of no interest, and that files beside this directory come along as downloads.

May call ``_names`` and ``_version``.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pathlib
import pkgutil
import typing
from typing import TYPE_CHECKING, Any, Final

import attrs
from sphinx import addnodes

import netlink_safe
from netlink_safe import __version__
from netlink_safe._names import HOME_OF

if TYPE_CHECKING:
    import types

    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

#: No signature of theirs is described.
WITHOUT_HINTS: Final = ("netlink_safe.cli", "netlink_safe.testing.plugin")
#: Modules that export constants and types by name, which are described at their homes.
EXPORTING_DATA: Final = (
    "netlink_safe.collectors.tcpstat",
    "netlink_safe.doctor",
    "netlink_safe.lowlevel",
    "netlink_safe.testing",
)
ROOT: Final = pathlib.Path(__file__).parent.parent

project = "netlink_safe"
copyright = "the netlink_safe authors"  # noqa: A001  # Sphinx's own name for it
release = __version__
html_theme = "furo"
html_title = f"netlink_safe {__version__}"
exclude_patterns = ["_build"]
man_pages = [
    (
        "reference/command_line",
        "netlink-safe",
        "look at Linux sockets and netlink, with a deadline on every wait",
        "",
        1,
    )
]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click", "sphinxcontrib.mermaid"]

smartquotes = False  # options begin with two hyphens

myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]

autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "undoc-members": True,  # fields, which the class's own text explains
}

nitpicky = True
nitpick_ignore_regex = [
    # Of others, whose inventories would take a network.
    ("py:.*", r"(collections|contextlib|enum|ipaddress|os|pathlib|socket|threading|types)\..*"),
    ("py:.*", r"(anyio|prometheus_client|_pytest|typing)\..*"),
    # Type variables: any row, any item.
    ("py:.*", r"(netlink_safe\..*\.)?(Fold|Item|Result|Row|Socket|T)"),
    # What an attribute of a growing structure is on its class; of a structure it is a number.
    ("py:class", r"netlink_safe\.families\.growing\.Field"),
    # A tree of names, which names itself.
    ("py:class", "Names"),
]


def setup(app: Sphinx) -> None:
    """Enter what stands below."""
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(netlink_safe.__path__, "netlink_safe.")
        if not (found.name.startswith(WITHOUT_HINTS) or found.name == "netlink_safe.blocking")
    ]
    for module in modules:
        _import_what_hints_name(module)
    for module in modules:
        _resolve_hints_of_records(module)
    app.connect("autodoc-process-docstring", _leave_out_who_calls_whom)
    app.connect("autodoc-process-bases", _show_public_bases)
    app.connect("autodoc-skip-member", _leave_to_its_public_page)
    app.connect("doctree-read", _take_along, priority=100)  # before downloads are collected
    app.connect("env-updated", _find_by_every_name)


def _import_what_hints_name(module: types.ModuleType) -> None:
    """What a module imports for type checkers alone, so that its hints can be read."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            block = compile(ast.Module(node.body, []), module.__name__, "exec")
            exec(block, vars(module))  # noqa: S102  # the library's own imports


def _resolve_hints_of_records(module: types.ModuleType) -> None:
    """The ``__init__`` that attrs writes does not know the names that its hints have."""
    for kind in vars(module).values():
        if isinstance(kind, type) and attrs.has(kind) and kind.__module__ == module.__name__:
            written, hints = kind.__init__.__annotations__, typing.get_type_hints(kind)
            for field in attrs.fields(kind):
                if isinstance(written.get(field.alias), str):
                    written[field.alias] = hints[field.name]


def _leave_out_who_calls_whom(
    _app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """The end of a module's head is for who changes it."""
    if what == "module":
        ends = [number for number, line in enumerate(lines) if line.startswith("May call ")]
        del lines[min(ends, default=len(lines)) :]


def _public(base: Any) -> list[Any]:
    """A base, or where its name is private what it is made of."""
    if isinstance(base, type) and base.__name__.startswith("_"):
        return [public for each in base.__bases__ for public in _public(each)]
    return [base]


def _show_public_bases(
    _app: Sphinx, _name: str, _obj: object, _options: object, bases: list[Any]
) -> None:
    bases[:] = [public for base in bases for public in _public(base)]


def _leave_to_its_public_page(
    _app: Sphinx, what: str, name: str, obj: object, _skip: bool, _options: object
) -> bool | None:
    is_at_home = getattr(obj, "__module__", None) == f"netlink_safe.{HOME_OF.get(name)}"
    return True if what == "module" and is_at_home else None


def _take_along(app: Sphinx, doctree: nodes.document) -> None:
    for link in list(doctree.findall(addnodes.pending_xref)):
        target = str(link["reftarget"])
        here = pathlib.Path(app.srcdir, app.env.docname).parent
        candidates = [here / f"{target}.md", here / target, ROOT / target]
        found = next((path.resolve() for path in candidates if path.is_file()), None)
        if link["reftype"] != "myst" or found is None or found.is_relative_to(app.srcdir):
            continue
        file = addnodes.download_reference("", "", *link.children)
        file["reftarget"] = f"/{os.path.relpath(found, app.srcdir)}"
        link.replace_self(file)


def _find_by_every_name(_app: Sphinx, env: BuildEnvironment) -> None:
    """What is public is found where it lives, on the blocking surface, and where it is exported."""
    objects = env.domains.python_domain.objects
    for module in EXPORTING_DATA:
        for name in importlib.import_module(module).__all__:
            if f"{module}.{name}" not in objects:  # autodoc sees data only where it is assigned
                home = next(path for path in objects if path.endswith(f".{name}"))
                objects[f"{module}.{name}"] = objects[home]._replace(aliased=True)
    for name, home in HOME_OF.items():
        for place in (home, "blocking"):
            if f"netlink_safe.{name}" in objects:
                aliased = objects[f"netlink_safe.{name}"]._replace(aliased=True)
                objects.setdefault(f"netlink_safe.{place}.{name}", aliased)
