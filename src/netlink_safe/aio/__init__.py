"""The async surface: the same verbs on trio and on asyncio, by anyio.

May call ``transport``, ``families``, ``protocol``, ``wire`` and ``errors``.
"""
