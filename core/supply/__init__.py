"""Where a bundle came from and what it is made of: provenance, SBOM, OpenSSF signature, and the gates over them."""
