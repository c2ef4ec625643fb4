"""What monitoring finds in a year of real flights, and how long a day of ten million answers takes it."""

__all__: list[str] = []
