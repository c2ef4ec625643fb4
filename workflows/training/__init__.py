"""From raw data to an approved, deployed model. See README.md."""

__all__ = ["activities", "card", "data_activities", "messages", "model_activities", "run_folder", "workflow"]
