"""What the control plane costs: audit appends and verification, requests, and which tamperings are found."""

__all__: list[str] = []
