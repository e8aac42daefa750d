"""The privacy a hospital promises: events, epsilon, budget, ledger, receipts, DP-SGD.

What a privacy officer should read first: `privacy.accounting.accountant` (how epsilon is computed),
`privacy.accounting.filter` (why plans may be chosen late), `privacy.spending.spend` (when a run is
refused), `privacy.ledger.ledger` and `privacy.ledger.chain` (why the record can be trusted),
`privacy.training.dpsgd` (where the noise comes in). Imports nothing of ours.

Names load when they are first used: importing this package takes milliseconds; the ledger needs
dp-accounting, and only DP-SGD needs PyTorch and Opacus.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
