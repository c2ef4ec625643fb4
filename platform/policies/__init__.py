"""Who may do what, as Cedar policies: the files beside this one, read and asked by `engine`."""

__all__: list[str] = []
