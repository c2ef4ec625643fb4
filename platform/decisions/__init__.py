"""Which reads were asked for, and what the policies answered: counted, bounded, and kept beside the audit log."""

__all__: list[str] = []
