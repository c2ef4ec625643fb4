"""Reports of served models, the alerts that they raise, the rules by which they do, and how people are told."""

__all__: list[str] = []
