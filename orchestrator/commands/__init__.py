"""The command lines of this package: `dura study ...`, `dura audit ...`, `dura demo`."""
