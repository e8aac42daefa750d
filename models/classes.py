"""The default class list. It is a setting: nothing in the code depends on these four names.

The order is the order of logits, confusion rows and reports.
"""

from __future__ import annotations

DEFAULT_CLASSES: tuple[str, ...] = ("glioma", "meningioma", "notumor", "pituitary")
"""Folder names of the public brain-tumour MRI collections, in alphabetical order."""

HEALTHY_NAMES: frozenset[str] = frozenset(
    {"notumor", "no_tumor", "normal", "healthy", "control", "none"}
)
"""Class names that mean "nothing to see"; phantoms of these classes carry no lesion."""
