"""Data only: builders that return requests, and records of what comes back.

May call ``protocol``, ``wire`` and ``errors``; never touches a socket.
"""
