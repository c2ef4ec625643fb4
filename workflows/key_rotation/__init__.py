"""RotateKeys: keys that sign and encrypt are changed, and nothing that is valid is refused meanwhile."""

__all__: list[str] = []
