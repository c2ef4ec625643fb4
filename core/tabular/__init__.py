"""Projects out of tables: what a team says of its data, and everything else that a `Project` must do."""
