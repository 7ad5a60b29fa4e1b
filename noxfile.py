"""The checks of the project by name, in environments of their own.

``nox`` runs those that take minutes; ``nox -l`` lists all.  CI runs ``lint``, ``types``,
``coverage`` and ``package`` of them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.sessions = ["tests", "lint", "types", "package"]
nox.options.reuse_existing_virtualenvs = True

PYTHONS = ("3.11", "3.12", "3.13")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests, or what is given behind ``--``."""
    session.install("-e", ".[cli,test]")
    session.run("pytest", "-q", "-n", "auto", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, and who may import whom."""
    session.install("-e", ".[cli,test]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Types, of all of it and of what is public."""
    session.install("-e", ".[dev]")
    session.run("mypy")
    session.run("pyright", "--verifytypes", "netlink_safe", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    session.install("-e", ".[cli,docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-n", "docs", "build/docs")


@nox.session
def coverage(session: nox.Session) -> None:
    """Every line and branch of wire and protocol, by tests that need no kernel."""
    session.install("-e", ".[cli,test]")
    mutants = nox.project.load_toml("pyproject.toml")["tool"]["mutmut"]
    options = [f"--cov={room.removesuffix('/*')}" for room in mutants["only_mutate"]]
    options += ["--cov-report=term", "--cov-fail-under=100", *mutants["pytest_add_cli_args"]]
    tests = mutants["pytest_add_cli_args_test_selection"]
    session.run("pytest", "-q", *options, *tests, env={"PYTHONPATH": "tests"})


@nox.session
def coverage_of_all(session: nox.Session) -> None:
    """How much of the package the tests run, those of its commands included."""
    session.install("-e", ".[cli,test]")
    session.run("pytest", "-q", "-n", "auto", "--cov", "--cov-fail-under=95")


@nox.session
def package(session: nox.Session) -> None:
    """Build what is published, and look at it as an index and an installer do."""
    session.install("-e", ".[dev]")
    built = Path(session.create_tmp(), "dist")
    shutil.rmtree(built, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(built), silent=True)
    session.run("twine", "check", "--strict", *map(str, built.iterdir()))
    session.run("check-wheel-contents", *map(str, built.glob("*.whl")))
    (sdist,) = built.glob("*.tar.gz")
    shutil.unpack_archive(sdist, built, filter="data")
    with session.chdir(built / sdist.name.removesuffix(".tar.gz")):
        anywhere = ("-m", "anywhere", "-p", "no:cacheprovider")
        session.run("pytest", "-q", *anywhere, env={"PYTHONPATH": "src"})


@nox.session(python=PYTHONS)
def installed(session: nox.Session) -> None:
    """Install the wheel where nothing is compiled, and count the sockets of this machine."""
    built = Path(session.create_tmp(), "dist").resolve()
    session.run("pip", "wheel", "-q", "--no-deps", "-w", str(built), ".")
    (wheel,) = built.glob("*.whl")
    session.install("--only-binary=:all:", str(wheel))
    session.run("netlink-safe", success_codes=[1])
    session.install("--only-binary=:all:", f"{wheel}[cli]")
    session.run("netlink-safe", "tcpstat")
