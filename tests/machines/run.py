"""Run tests that need no kernel on emulated processors: 32-bit ARM, and big-endian s390x.

    python tests/machines/run.py [--machine armhf] [--machine s390x] [--keep] [arguments for pytest]

Debian's Python for each machine runs under qemu-user, out of a directory that nothing is installed
in; the host's dpkg does not learn of it.  The tests are those that are marked ``anywhere``.

The exit status is 0 only if tests ran on every machine, and all of them passed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = HERE.parent.parent
TESTS: Final = HERE.parent
sys.path.insert(0, str(TESTS))

import kernel  # noqa: E402
from vm.run import DEBIAN, RingError, checked, outcome, say, started  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CACHE: Final = HERE / ".cache"
BYTECODE: Final = CACHE / "bytecode"
DONE_WITHIN: Final = 900.0

#: What runs the programs of each of Debian's architectures.
EMULATORS: Final = {"armhf": "qemu-arm", "s390x": "qemu-s390x"}
#: Everything else comes with it.
PACKAGES: Final = ("python3",)
#: Of the packages that tests take, those without which these cannot run.
FOR_TESTS: Final = frozenset({"hypothesis", "pytest", "pytest-timeout"})
PLUGINS: Final = (
    "no:cacheprovider",
    "machines.emulated",
    "pytest_timeout",
    "_hypothesis_pytestplugin",
)
#: How tests that run here are known.
MARK: Final = "pytest.mark.anywhere"


def main() -> int:
    """Run on every machine at once; return the exit status."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--machine", action="append", choices=EMULATORS, help="one of them; by default all"
    )
    parser.add_argument("--keep", action="store_true", help="keep logs of what passed, too")
    parser.epilog = "Other arguments go to pytest."
    options, for_pytest = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # nothing is left
    try:
        good = pass_on(options.machine or list(EMULATORS), for_pytest, options.keep)
    except RingError as error:
        sys.stderr.write(f"run.py: {error}\n")
        return 2
    return 0 if good else 1


def pass_on(machines: Sequence[str], for_pytest: Sequence[str], keep: bool) -> bool:
    """Run the tests on some machines, and say what came out of it."""
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise RingError(f"{tool} is missing: a Debian machine with apt")
    pythons = {machine: [emulator(machine), *python(machine)] for machine in machines}
    packages = pure_packages()
    compiled(PROJECT / "src")
    results = CACHE / "results"
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir()
    commands = {
        machine: [*start, *pytest(machine, results), *for_pytest]
        for machine, start in pythons.items()
    }
    leave_the_machine_alone()
    run_side_by_side(commands, results, environment(packages))
    outcomes = [outcome(machine, results) for machine in machines]
    for each in outcomes:
        say(str(each))
    good = all(each.is_good for each in outcomes)
    if good and not keep:
        shutil.rmtree(results)
    return good


def leave_the_machine_alone() -> None:
    """Enter namespaces, as the ordinary conftest does: system calls are not emulated.

    They have a sysfs of their own, since qemu-user has no fsmount(2).
    """
    if os.geteuid() != 0:
        kernel.become_root_of_a_user_namespace()
    kernel.enter_own_namespaces()
    kernel.mount("sysfs", "/sys", "sysfs")


def run_side_by_side(
    commands: Mapping[str, Sequence[str]], results: Path, environment: dict[str, str]
) -> None:
    """Run a command for each machine, all at once, and say what each said.  Raises RingError."""
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        running = {}
        for machine, command in commands.items():
            log = stack.enter_context((results / f"{machine}.log").open("wb"))
            running[machine] = stack.enter_context(started(command, log.fileno(), environment))
        for machine, process in running.items():
            try:
                status = process.wait(max(start + DONE_WITHIN - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                late = f"{machine} was not done in {DONE_WITHIN:.0f} s: see {results}"
                raise RingError(late) from None
            (results / f"{machine}.status").write_text(f"{status}\n")
            say((results / f"{machine}.log").read_text(errors="replace"))
            say(f"--- {machine}: {time.monotonic() - start:.0f} s")


def emulator(machine: str) -> str:
    """What runs a machine's programs.  Raises RingError where it is missing."""
    name = EMULATORS[machine]
    found = shutil.which(name) or shutil.which(f"{name}-static")
    if found is None:
        raise RingError(f"{name} is missing: {DEBIAN}qemu-user")
    return found


# --- what runs on the machine


def pytest(machine: str, results: Path) -> list[str]:
    """The arguments of a Python that runs the tests."""
    files = [str(file) for file in TESTS.glob("test_*.py") if MARK in file.read_text("utf-8")]
    return [
        *("-m", "pytest", "-q", "--color=no", "--durations=5", "--timeout=300"),
        *("-o", "faulthandler_timeout=360"),
        *(f"-p{plugin}" for plugin in PLUGINS),
        # that of the ordinary tests would enter namespaces
        *("--noconftest", "-m", MARK.rpartition(".")[2]),
        *(f"--junit-xml={results / machine}.xml", f"--rootdir={PROJECT}", *sorted(files)),
    ]


def environment(packages: Path) -> dict[str, str]:
    """That of the tests: the project as it stands, and no other package than ours."""
    paths = [packages, PROJECT / "src", TESTS]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {
        "NETLINK_SAFE_HYPOTHESIS": "emulated",
        **kept,
        "HYPOTHESIS_STORAGE_DIRECTORY": str(CACHE / "hypothesis"),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONPYCACHEPREFIX": str(BYTECODE),
    }


# --- what is fetched


def python(machine: str) -> list[str]:
    """How an emulator starts a machine's Python; that and its libraries are fetched if need be."""
    unpacked = CACHE / machine
    if not unpacked.is_dir():
        say(f"fetching Python for {machine}")
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as directory:
            fetch_packages(machine, Path(directory))
            for archive in sorted(Path(directory).glob("archives/*.deb")):
                checked(["dpkg", "-x", str(archive), "unpacked"], directory)
            Path(directory, "unpacked").rename(unpacked)
        compiled(unpacked / "usr/lib")
    return ["-L", str(unpacked), str(unpacked / "usr/bin/python3")]


def fetch_packages(machine: str, directory: Path) -> None:
    """Download packages with all that they depend on, by an apt that knows no other machine.

    An index that is just being changed is no reason to give up, if another has what is wanted.
    """
    for name in ("state/lists/partial", "archives/partial"):
        (directory / name).mkdir(parents=True)
    (directory / "status").touch()  # nothing is installed
    options = {
        "APT::Architecture": machine,
        "APT::Architectures": machine,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Dir::State": directory / "state",
        "Dir::State::status": directory / "status",
        "Dir::Cache": directory,
    }
    apt = ["apt-get", "-q", "-y", *(f"-o{name}={value}" for name, value in options.items())]
    updated = subprocess.run([*apt, "update"], capture_output=True, text=True, check=False)
    download = ["--no-install-recommends", "--download-only", "install", *PACKAGES]
    try:
        checked([*apt, *download])
    except RingError as error:
        said = (updated.stderr.strip().splitlines() or ["nothing"])[-1]
        raise RingError(f"{error}; and apt-get update said: {said}") from None


def pure_packages() -> Path:
    """Where the packages lie that run on every machine, fetched if need be."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    for_tests = project["optional-dependencies"]["test"]
    wanted = project["dependencies"] + [
        one for one in for_tests if re.split(r"[<>=~!;\[ ]", one)[0] in FOR_TESTS
    ]
    digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:8]
    packages = CACHE / f"packages-{digest}"
    if not packages.is_dir():
        say(f"fetching {' '.join(wanted)}")
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-compile"]
        pip += ["--only-binary=:all:", "--platform=any", "--implementation=py", "--abi=none"]
        pip += [f"--python-version={project['requires-python'].lstrip('>=')}"]
        with tempfile.TemporaryDirectory(dir=CACHE) as directory:
            target = Path(directory, "packages")
            checked([*pip, f"--target={target}", *wanted])
            target.rename(packages)
        compiled(packages)
    return packages


def compiled(directory: Path) -> None:
    """Compile what lies below a directory; another Python than this one's cannot use it."""
    prefix = f"pycache_prefix={BYTECODE}"
    command = [sys.executable, "-X", prefix, "-m", "compileall", "-qq", str(directory)]
    subprocess.run(command, check=False)  # a file of another version's is no failure


if __name__ == "__main__":
    sys.exit(main())
