"""What fuzzing begins with, and what it has found, without a fuzzer: promises on recorded bytes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

import pytest

from fuzz.run import targets
from fuzz.seeds import CORPUS, seeds

if TYPE_CHECKING:
    from pathlib import Path

INPUTS: Final = sorted(path for path in CORPUS.glob("*/*"))
FEW: Final = 100
SMALL: Final = 200 * 1024


@pytest.mark.parametrize("path", INPUTS, ids=[f"{path.parent.name}-{path.name}" for path in INPUTS])
def test_every_input_holds_the_promises_of_its_target(path: Path) -> None:
    """What was found once is not found again."""
    import_module(f"fuzz.targets.{path.parent.name}").one_input(path.read_bytes())


@pytest.mark.parametrize("target", targets())
def test_every_target_takes_nothing_at_all(target: str) -> None:
    """No bytes, and any one byte, are an input too."""
    one_input = import_module(f"fuzz.targets.{target}").one_input
    one_input(b"")
    for byte in range(256):
        one_input(bytes([byte]))


def test_the_seeds_are_as_their_script_makes_them() -> None:
    """Whoever changes a builder, or a target's form of input, makes the seeds anew."""
    for target, inputs in seeds().items():
        for name, data in inputs.items():
            assert (CORPUS / target / name).read_bytes() == data, f"{target}/{name}"


def test_every_target_has_a_corpus_and_it_is_small() -> None:
    """A clone carries all of it."""
    assert sorted({path.parent.name for path in INPUTS}) == targets()
    assert len(INPUTS) < FEW
    assert sum(path.stat().st_size for path in INPUTS) < SMALL
