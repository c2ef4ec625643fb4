"""BatchScore: every row of a dataset scored once by one bundle, on Ray Data."""

__all__: list[str] = []
