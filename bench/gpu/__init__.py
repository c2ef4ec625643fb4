"""The GPU kernels: checked, then timed, where there is a GPU. See `__main__`."""

__all__: list[str] = []
