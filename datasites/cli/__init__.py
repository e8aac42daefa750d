"""The command lines of this package: `dura site ...` and `dura data ...`."""
