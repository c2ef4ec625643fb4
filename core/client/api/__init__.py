"""The control API's operations by noun, and the two ways in which they are carried out: waiting, and awaited.

Written once, for who waits; `generated/` has the same for who awaits, made by `tools/async_client.py`.
"""

__all__: list[str] = []
