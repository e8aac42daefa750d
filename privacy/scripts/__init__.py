"""Programs of this package that are run by hand; see the Makefile."""
