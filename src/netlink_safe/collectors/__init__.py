"""What agents collect, built with the public surface and nothing else.

May call ``aio``, ``blocking``, ``families``, ``protocol``, ``wire`` and ``errors``.
"""
