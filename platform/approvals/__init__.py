"""Everything that waits for a person's yes: one list over the nouns that have such things, each decided by its own service."""

__all__: list[str] = []
