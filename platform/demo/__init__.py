"""The main job: the whole platform on the reference project, from raw flights to answers over HTTP."""

__all__ = ["follow", "journey", "replayed", "summary"]
