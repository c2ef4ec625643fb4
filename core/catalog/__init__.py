"""The catalog: `entries` puts together what is defined, made and measured anyway; `rules` says what must be told of it."""

__all__: list[str] = []
