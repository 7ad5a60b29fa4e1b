"""Bytes to values and back: headers, attributes, acknowledgements.

May call ``errors`` and nothing else of the library; does no input or output.
"""
