"""ReleaseEndpoint: an endpoint answers nobody any more, and its versions go on."""

__all__: list[str] = []
