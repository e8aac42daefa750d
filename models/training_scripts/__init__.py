"""Scripts that make what the package ships; run by hand, never imported by it."""
