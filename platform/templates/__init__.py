"""What `mainspring new` makes a project of: templates, each a `template.toml` and the files that it names."""
