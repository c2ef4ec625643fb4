"""What serving used, by model version and caller, in whole units."""

__all__: list[str] = []
