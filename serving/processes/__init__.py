"""Several processes of the data plane on one host: one writes, the others follow it."""
