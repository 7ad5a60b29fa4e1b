"""The command ``netlink-safe``: one file for each verb.

May call ``collectors``, ``blocking`` and ``errors``; imports no event loop, and rich only to draw.
"""
