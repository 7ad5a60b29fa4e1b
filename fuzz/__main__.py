"""One target under atheris: ``python -m fuzz TARGET [libFuzzer's flags] [directories]``.

May call ``fuzz.targets``.
"""

from __future__ import annotations

import sys
from importlib import import_module

import atheris


def main() -> None:
    """Never comes back: libFuzzer ends the process."""
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["netlink_safe"]):
        target = import_module(f"fuzz.targets.{name}")
    atheris.Setup(sys.argv, target.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
