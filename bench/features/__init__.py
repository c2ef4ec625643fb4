"""Feature reads against Feast's own stores, same call and same answer in one run."""

__all__: list[str] = []
