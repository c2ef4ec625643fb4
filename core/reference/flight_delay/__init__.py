"""Two hours before scheduled departure: will this flight arrive more than 15 minutes late?"""

__all__: list[str] = []
