"""What made projects reach on all of their data, beside what is listed for them."""
