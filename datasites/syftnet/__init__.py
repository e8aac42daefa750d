"""PySyft, and the only place in Dura that knows it.

Every participant is a real PySyft 0.10 client: its identity, keys, peer requests, signed and
encrypted envelopes, message types, job folders and job states are syft's. What syft ships and a
hospital may not rely on is replaced here by subclassing and by not calling it (no fork):

- the transport: `connection.RelayConnection` over a folder, SFTP, S3 or WebDAV; peers,
  approvals and keys stay on local disk;
- the inbound path: `site_inbox.SiteInbox` at a site and `researcher_inbox.ResearcherInbox` at a
researcher
  believe nothing of a message before its envelope was verified against the authenticated peer,
  take files by an allow-list, once, and refuse replays; peers take turns (`allowance`);
- pairing: `pairing.SitePeers` accepts the compared key only, from local disk, for good;
- the outbound path: nothing is synchronised. A site sends exactly the files that the release
  desk hands to `OwnerLink.publish`, so unreleased outputs and logs cannot travel.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
