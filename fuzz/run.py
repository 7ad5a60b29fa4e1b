"""All targets under atheris, or those that are named, a line for each.

::

    python -m fuzz.run [--seconds 60] [--at-once 2] [TARGET ...]

Each runs on a copy of its corpus, with the same flags every time.  What is found stays in
``fuzz/findings``, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import attrs

HERE: Final = Path(__file__).resolve().parent
FINDINGS: Final = HERE / "findings"
#: Bytes of an input at most, where 4096 are not what is wanted.
LONGEST: Final = {"filters": 512, "growth": 256, "tcp_info": 1024, "uevents": 2048}
#: One input takes milliseconds; 20 seconds of one are a finding, and so is half a GiB of memory.
FLAGS: Final = (
    "-timeout=20",
    "-rss_limit_mb=512",
    "-use_value_profile=1",
    "-print_final_stats=1",
    "-verbosity=1",
)
#: Beyond the time it was given: to load what is instrumented, and to run the corpus.
_MERCY: Final = 300
_COVERED: Final = re.compile(r"cov: (\d+)")
_FIGURES: Final = re.compile(r"stat::(number_of_executed_units|peak_rss_mb):\s+(\d+)")
_LAST_LINES: Final = 40


@attrs.frozen
class Run:
    """What libFuzzer says of one target."""

    target: str
    status: int
    output: str

    def __str__(self) -> str:
        figures = dict(_FIGURES.findall(self.output))
        covered = _COVERED.findall(self.output)
        return (
            f"{self.target:12} runs {figures.get('number_of_executed_units', '?'):>9}  "
            f"cov {covered[-1] if covered else '?':>6}  "
            f"peak rss {figures.get('peak_rss_mb', '?'):>4} MB  "
            f"{'nothing found' if self.status == 0 else 'FOUND SOMETHING'}"
        )


def targets() -> list[str]:
    """The names of all there are."""
    return sorted(path.stem for path in (HERE / "targets").glob("[!_]*.py"))


def main() -> int:
    """Run them; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument(
        "--at-once", type=int, default=os.cpu_count() or 1, help="targets; by default per processor"
    )
    parser.add_argument("target", nargs="*", help=f"all, or some of {', '.join(targets())}")
    given = parser.parse_args()
    if strange := set(given.target) - set(targets()):
        parser.error(f"there is no target {', '.join(sorted(strange))}")
    FINDINGS.mkdir(exist_ok=True)
    found = False
    with ThreadPoolExecutor(given.at_once) as pool:
        fuzzed = functools.partial(_fuzzed, seconds=given.seconds)
        for run in pool.map(fuzzed, given.target or targets()):
            print(run, f" {given.seconds} s", flush=True)
            if run.status:
                found = True
                print(*run.output.splitlines()[-_LAST_LINES:], sep="\n", flush=True)
    return int(found)


def _fuzzed(target: str, seconds: int) -> Run:
    with tempfile.TemporaryDirectory() as directory:
        corpus = Path(directory, "corpus")
        shutil.copytree(HERE / "corpus" / target, corpus)
        command = (
            sys.executable,
            "-m",
            "fuzz",
            target,
            *FLAGS,
            *_words(target),
            f"-max_len={LONGEST.get(target, 4096)}",
            f"-max_total_time={seconds}",
            f"-artifact_prefix={FINDINGS}/{target}-",
            str(corpus),
        )
        done = subprocess.run(
            command,
            cwd=HERE.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds + _MERCY,
            check=False,
        )
    return Run(target, done.returncode, done.stdout)


def _words(target: str) -> list[str]:
    """Where the words of its texts are listed, of a target that reads texts."""
    words = HERE / "words" / target
    return [f"-dict={words}"] if words.exists() else []


if __name__ == "__main__":
    sys.exit(main())
