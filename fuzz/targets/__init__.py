"""A module for each way in: ``one_input`` takes any bytes, and raises where a promise is broken.

None of them knows atheris, so that tests run what was found, and may import them.
"""
