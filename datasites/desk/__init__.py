"""The release desk: what jobs produced, held until the data owner decides."""

from datasites.desk.items import Item, ItemKind, ItemState, decide
from datasites.desk.store import Desk

__all__ = ["Desk", "Item", "ItemKind", "ItemState", "decide"]
