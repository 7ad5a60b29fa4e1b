"""Boot Debian kernels in virtual machines and run tests there, on real devices that are plugged.

    python tests/vm/run.py [--kernel 6.1] [--kernel 6.12] [--keep] [arguments for pytest]

The guest has the host's own files, read-only, and one directory that it shares with the host, for
logs and results.  QEMU emulates the processor, so that this works where KVM does not.  The machine
has a USB bus, and QEMU's monitor at a serial port, so that a test can plug its own devices.

The exit status is 0 only if every kernel came up, ran tests, and all of them passed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = HERE.parent.parent
CACHE: Final = HERE / ".cache"
#: Not resolved: a virtual environment's interpreter is a link.
BIN: Final = Path(sys.executable).parent

KERNELS: Final = ("6.1", "6.12")
UP_WITHIN: Final = 300.0
DONE_WITHIN: Final = 2400.0
#: Of one run: then it tells where everybody is, in the kernel too, and is ended.
RUN_WITHIN: Final = 1200

#: Without those of which an emulated processor tells nothing, or not in time.
UNFIT: Final = "not share and not crowd"

DEBIAN: Final = "apt-get install --no-install-recommends "
TOOLS: Final = {
    "apt-cache": "a Debian machine with apt",
    "apt-get": "a Debian machine with apt",
    "dpkg": "a Debian machine with dpkg",
    "busybox": DEBIAN + "busybox-static",
    "depmod": DEBIAN + "kmod",
    "qemu-system-x86_64": DEBIAN + "qemu-system-x86",
    "ss": DEBIAN + "iproute2",
    "udevadm": DEBIAN + "udev",
    "vng": "pip install virtme-ng, into the environment of this python",
}


class RingError(Exception):
    """Why there is no result, in one line that says what to do."""


class Outcome(NamedTuple):
    """What one pytest run in the guest came to."""

    name: str
    ran: int
    skipped: int
    failed: int
    status: str

    @property
    def is_good(self) -> bool:
        return self.status == "0" and self.failed == 0 and self.ran > 0

    def __str__(self) -> str:
        verdict = "passed" if self.is_good else "FAILED"
        return (
            f"{verdict}: {self.name}: {self.ran} ran, {self.failed} failed, "
            f"{self.skipped} skipped, pytest's status {self.status}"
        )


def main() -> int:
    """Run the ring; return the exit status."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--kernel", action="append", choices=KERNELS, help="one of them; by default all"
    )
    parser.add_argument("--keep", action="store_true", help="keep logs of what passed, too")
    parser.epilog = "Other arguments go to pytest, which then runs the guest's own tests alone."
    options, for_pytest = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # no machine is left
    good = True
    try:
        environment = checked_environment()
        for version in options.kernel or KERNELS:
            good &= passes(version, for_pytest, environment, options.keep)
    except RingError as error:
        sys.stderr.write(f"run.py: {error}\n")
        return 2
    return 0 if good else 1


def passes(
    version: str, for_pytest: Sequence[str], environment: dict[str, str], keep: bool
) -> bool:
    """Run all tests on one kernel, and say what came out."""
    kernel = newest_kernel(version)
    say(f"--- {kernel.name}")
    start = time.monotonic()
    results = CACHE / f"results-{version}"
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir()
    runs = pytest_runs(results, for_pytest)
    run_in_guest(kernel, results, script(runs, results), environment)
    for name in runs:
        for told in sorted(results.glob(f"{name}.[lw]*")):  # the log, and where everybody was
            if text := told.read_text(errors="replace"):
                say(text)
    outcomes = [outcome(name, results) for name in runs]
    for each in outcomes:
        say(f"{kernel.name}: {each}")
    say(f"{kernel.name}: {time.monotonic() - start:.0f} s")
    good = all(each.is_good for each in outcomes)
    if good and not keep:
        shutil.rmtree(results)
    return good


def say(text: str) -> None:
    """Print a line, at once."""
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def checked_environment() -> dict[str, str]:
    """The environment in which all tools are found.  Raises RingError where one is missing."""
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    for tool, remedy in TOOLS.items():
        if shutil.which(tool, path=path) is None:
            raise RingError(f"{tool} is missing: {remedy}")
    if not Path("/lib/systemd/systemd-udevd").exists():
        raise RingError(f"systemd-udevd is missing: {TOOLS['udevadm']}")
    return {**os.environ, "PATH": path}


# --- Debian's kernels


def newest_kernel(version: str) -> Path:
    """The directory of the newest kernel of a version, fetched and unpacked if need be."""
    package = newest_package(version)
    unpacked = CACHE / package
    if not unpacked.is_dir():
        say(f"fetching {package}")
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as directory:
            # as root, apt would fetch as a user that may not write here
            download = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package]
            checked(download, directory)
            (archive,) = Path(directory).glob("*.deb")
            checked(["dpkg", "-x", str(archive), "unpacked"], directory)
            Path(directory, "unpacked").rename(unpacked)
    return unpacked


def newest_package(version: str) -> str:
    """The newest plain kernel package of a version that apt knows: none of cloud, rt, unsigned."""
    stem = f"linux-image-{re.escape(version)}\\."
    found = checked(["apt-cache", "search", "--names-only", f"^{stem}"])
    names = [line.split(" ", 1)[0] for line in found.splitlines()]
    plain = [name for name in names if re.fullmatch(rf"{stem}[^-]+(-\d+)?-amd64", name)]
    if not plain:
        raise RingError(f"apt knows no linux-image-{version}.*-amd64: apt-get update")
    return max(plain, key=lambda name: [int(digits) for digits in re.findall(r"\d+", name)])


def checked(command: Sequence[str], directory: str | None = None) -> str:
    """The output of a program.  Raises RingError if it fails."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RingError(f"{shlex.join(command)}: {last}")
    return done.stdout


# --- what runs in the guest


def pytest_runs(results: Path, for_pytest: Sequence[str]) -> dict[str, list[str]]:
    """The pytest commands, by name; each writes its own results."""
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no"]
    guest = HERE / "guest"
    runs = {
        # without the conftest of the ordinary tests, which would enter namespaces
        "guest": [*pytest, f"--confcutdir={guest}", "--durations=5", *for_pytest, str(guest)]
    }
    if not for_pytest:
        for name, run in tomllib.loads((HERE / "ordinary.toml").read_text("utf-8")).items():
            paths = (str(HERE.parent / file) for file in run["files"])
            selected = ("-m", UNFIT, "-k", run["surfaces"])
            runs[name] = [*pytest, "-q", "--durations=5", *selected, *paths]
    for name, command in runs.items():
        command.append(f"--junit-xml={results / name}.xml")
    return runs


#: A shell function.
WHERE_EVERYBODY_IS: Final = """where_everybody_is() {
    for task in /proc/[0-9]*/task/[0-9]*; do
        echo "$task $(cat "$task/comm") $(grep State "$task/status")"
        cat "$task/stack"
    done
    dmesg | tail -n 40
}"""


def script(runs: dict[str, list[str]], results: Path) -> Path:
    """A shell script of all the runs; the kernel's command line would be too short for it."""
    lines = [
        # The project's directory is read-only in the guest.
        "export PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis",
        "export NETLINK_SAFE_REQUIRE_SS=1 NETLINK_SAFE_REQUIRE_VSOCK=1",
        "export NETLINK_SAFE_REQUIRE_FEATURES=1",
        # Else a module of tunnels that one test loads puts a device into the namespaces of others.
        "echo 2 >/proc/sys/net/core/fb_tunnels_only_for_init_net || exit",
        f"cd {shlex.quote(str(PROJECT))} || exit",
        WHERE_EVERYBODY_IS,
        f"touch {shlex.quote(str(results / 'up'))}",
    ]
    for name, command in runs.items():
        log, status, where = (
            shlex.quote(str(results / f"{name}.{end}")) for end in ("log", "status", "where")
        )
        ended = f"timeout --signal=ABRT --kill-after=60 {RUN_WITHIN + 60} {shlex.join(command)}"
        lines += [
            f"(sleep {RUN_WITHIN}; where_everybody_is) >{where} 2>&1 &",
            "watching=$!",
            f"{ended} >{log} 2>&1 </dev/null",
            f"echo $? >{status}",
            "kill $watching",
        ]
    path = results / "run.sh"
    path.write_text("\n".join(lines) + "\n")
    return path


def outcome(name: str, results: Path) -> Outcome:
    """What a run left behind; nothing ran of one that died in the middle."""
    try:
        status = (results / f"{name}.status").read_text().strip()
    except OSError:
        raise RingError(f"no results of {name} from the guest: see {results}") from None
    try:
        suites = ET.parse(results / f"{name}.xml").getroot().iter("testsuite")  # noqa: S314  # our own
    except (OSError, ET.ParseError):
        return Outcome(name, 0, 0, 0, status)
    tests = skipped = failed = 0
    for suite in suites:
        tests += int(suite.get("tests", 0))
        skipped += int(suite.get("skipped", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return Outcome(name, tests - skipped, skipped, failed, status)


# --- the virtual machine


def run_in_guest(kernel: Path, results: Path, program: Path, environment: dict[str, str]) -> None:
    """Boot, run the script and wait for its end.  Raises RingError where it has none in time."""
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    with tempfile.TemporaryDirectory(prefix="vm-") as directory:  # a socket's path must be short
        command = ["vng", "--disable-kvm", "--force-9p", "--disable-microvm", "--user", "root"]
        command += ["--cpus", "1", "--memory", "512M", "--run", str(image), f"--rwdir={results}"]
        command += [f"--qemu-opts={shlex.join(qemu_options(Path(directory, 'qmp')))}"]
        command += ["--exec", shlex.join(["sh", str(program)])]
        with (
            (results / "console.log").open("wb") as console,
            started(command, console.fileno(), environment) as machine,
        ):
            wait_for(machine, results)


def qemu_options(monitor: Path) -> list[str]:
    """A USB bus, a stick's storage, and the monitor looped back into the guest as a serial port."""
    return [
        *("-device", "qemu-xhci,id=xhci"),
        *("-blockdev", "driver=null-co,node-name=stick,size=1048576,read-zeroes=on"),
        *("-qmp", f"unix:{monitor},server=on,wait=off"),
        *("-chardev", f"socket,id=monitor,path={monitor},reconnect=1"),
        *("-device", "virtio-serial-pci,id=monitorbus"),
        *("-device", "virtserialport,bus=monitorbus.0,chardev=monitor,name=netlink_safe.qmp"),
    ]


@contextlib.contextmanager
def started(
    command: Sequence[str], output: int, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A program and all that it starts, ended with the body."""
    machine = subprocess.Popen(
        command,
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    try:
        yield machine
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(machine.pid, signal.SIGKILL)
        machine.wait()


def wait_for(machine: subprocess.Popen[bytes], results: Path) -> None:
    """Wait until the machine is up, and then until it is done.  Raises RingError."""
    up = results / "up"
    start = time.monotonic()
    while machine.poll() is None:
        seconds = time.monotonic() - start
        if seconds > UP_WITHIN and not up.exists():
            raise RingError(f"the machine did not come up in {UP_WITHIN:.0f} s: see {results}")
        if seconds > DONE_WITHIN:
            raise RingError(f"the machine was not done in {DONE_WITHIN:.0f} s: {so_far(results)}")
        time.sleep(0.2)
    if not up.exists():
        raise RingError(f"vng ended with {machine.returncode} and nothing ran: see {results}")


def so_far(results: Path) -> str:
    """How far it has come, for a machine that nobody can look into any more."""
    last = max(results.glob("*.log"), key=lambda log: log.stat().st_mtime)
    end = last.read_text(errors="replace")[-6000:]
    return f"see {results}; the newest, {last.name}, ends in:\n{end}"


if __name__ == "__main__":
    sys.exit(main())
