"""Datasites: ingest, plans and approvals, sandbox, release desk, agent, network.

What other packages may use is named here, and is imported when it is first asked for: the
command line starts without syft or torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
