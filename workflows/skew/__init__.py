"""CheckSkew: what was served, asked again offline, on a schedule."""

__all__: list[str] = []
