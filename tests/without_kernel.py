"""How tests of bytes and rules run by the thousand: fewer examples, and the same ones each time.

Named on the command line (``-p without_kernel --noconftest``) by what measures the tests of wire
and protocol; those need no namespace, so they do without conftest.py, which enters one for each.
"""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile(
    "without_kernel",
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=20,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("without_kernel")
