"""The rules, without input or output: requests, one exchange, trust, deadlines, what is counted.

May call ``wire`` and ``errors``.
"""
