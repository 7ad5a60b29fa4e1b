"""Tests that need no kernel, on emulated processors of other kinds."""
