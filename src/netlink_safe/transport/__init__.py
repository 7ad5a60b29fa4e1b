"""The only place that makes a system call on a socket; it never waits.

What has to wait yields a ``Wait``, and the surface decides how.
May call ``protocol``, ``wire`` and ``errors``.
"""
