"""People sign in from a terminal: at the OpenID provider that the control API names, as its public client."""

__all__: list[str] = []
