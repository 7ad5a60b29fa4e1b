"""What agents collect, built on the surfaces; what they fold rows with reads the wire itself.

May call ``aio``, ``blocking``, ``transport``, ``families``, ``protocol``, ``wire`` and ``errors``.
"""
