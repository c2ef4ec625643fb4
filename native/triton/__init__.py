"""Triton kernels. Each module imports Triton (the only files that do); nothing of it is loaded from here."""

__all__: list[str] = []
