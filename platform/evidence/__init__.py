"""Evidence packs: what is on record of a model and a time, signed, with a verifier that needs nothing of ours."""
