"""GitOps: what a repository's `mainspring.yaml` wants, held against what there is, and brought about."""

__all__: list[str] = []
