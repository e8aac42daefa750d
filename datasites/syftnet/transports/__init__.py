"""The storages that a relay can lie on, behind one interface, and the credentials for them."""

from datasites.syftnet.transports.access import RelayAccess, load_access
from datasites.syftnet.transports.open import open_storage
from datasites.syftnet.transports.storage import Storage, StorageLostError

__all__ = ["RelayAccess", "Storage", "StorageLostError", "load_access", "open_storage"]
