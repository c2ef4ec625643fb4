"""EraseSubject: one subject's rows are erased everywhere, and a certificate proves it."""

__all__: list[str] = []
