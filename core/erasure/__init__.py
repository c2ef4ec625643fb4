"""Right to erasure: a subject's rows are found in every place, erased, proven to be gone, and kept out."""

__all__: list[str] = []
