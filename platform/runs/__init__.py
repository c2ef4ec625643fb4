"""Runs: started, shown, decided and cancelled here, executed by a launcher."""

__all__: list[str] = []
