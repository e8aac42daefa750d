"""`dura site fingerprint|peers|pair|unpair|rotate-key`: who this site listens to, and its key."""

from __future__ import annotations

from typing import Annotated

import typer

from datasites.cli.site import SiteArg, Who, Why, app
from datasites.cli.text import table
from datasites.console import say

EmailArg = Annotated[str, typer.Argument(help="The researcher.")]


@app.command()
def fingerprint(site: SiteArg) -> None:
    """Show this site's pairing words and key fingerprint, to be told to researchers."""
    from datasites.owner import open_link
    from datasites.site import Site

    _say_code(open_link(Site.open(site)).fingerprint)


@app.command()
def peers(site: SiteArg) -> None:
    """Show who is paired and who asks to be, each with their pairing words."""
    from datasites.owner import open_link
    from datasites.site import Site
    from datasites.syftnet import fingerprint_words

    link = open_link(Site.open(site))
    found = [(email, "paired", mark) for email, mark in sorted(link.paired().items())]
    found += [(peer.email, "asks to be paired", peer.fingerprint) for peer in link.pending_peers()]
    rows = [(email, state, fingerprint_words(mark), mark) for email, state, mark in found]
    table(("researcher", "state", "pairing words", "key fingerprint"), rows)


@app.command()
def pair(
    site: SiteArg,
    email: EmailArg,
    code: Annotated[
        str, typer.Argument(help="Their pairing words or fingerprint, as they told you.")
    ],
    who: Who,
) -> None:
    """Pair with a researcher whose words or fingerprint you compared with them."""
    from datasites.owner import open_link, pair
    from datasites.site import Site

    opened = Site.open(site)
    link = open_link(opened)
    mark = pair(opened, link, email=email, code=code, actor=who)
    say(f"paired with {email} ({mark})")
    say("now tell them this site's own:")
    _say_code(link.fingerprint)


@app.command()
def unpair(site: SiteArg, email: EmailArg, who: Who, reason: Why) -> None:
    """Turn a researcher away: jobs end, approvals are withdrawn, what was spent stays spent."""
    from datasites.owner import open_link, unpair
    from datasites.site import Site

    opened = Site.open(site)
    revoked = unpair(opened, open_link(opened), email=email, actor=who, reason=reason)
    say(f"{email} is not paired any more; {revoked} approval(s) were withdrawn")
    say("a running job of theirs ends at the agent's next step; what was spent stays spent")


@app.command("rotate-key")
def rotate_key(site: SiteArg, who: Who, reason: Why) -> None:
    """Replace the key that signs this site's messages; the old one vouches for it."""
    from datasites.owner import rotate_key
    from datasites.site import Site

    mark = rotate_key(Site.open(site), actor=who, reason=reason)
    say("paired researchers are told under the old key; to anybody else, say:")
    _say_code(mark)


def _say_code(mark: str) -> None:
    from datasites.syftnet import fingerprint_words

    say(f"pairing words: {fingerprint_words(mark)}")
    say(f"fingerprint: {mark}")
