"""What of a site's own files cannot be read, and what is refused while that is so.

A damaged file never ends the agent, nor a step for other requests: what depends on it is refused
(a card, a data set's key, an approval or a plan: no task of theirs runs; a rule: it covers nothing;
a desk item: it is set aside, and neither it nor its request's answer leaves; `behind.json`: nothing
runs at all), the log names it once, and `dura site status` and `dura site doctor` show it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from datasites.desk import RULES_FOLDER, Desk, open_rule, read_words
from datasites.errors import DatasitesError
from datasites.plans import read_record
from datasites.site import PlanStore, Site, behind, causes
from privacy import PrivacyError


def damaged(site: Site) -> list[str]:
    """Every own file that cannot be read, each with what is wrong."""
    return [problem for problem in _problems(site) if problem]


def _problems(site: Site) -> Iterator[str]:
    if site.has_data:
        yield _problem(site.card)
        yield _problem(site.published_version)
    yield _problem(lambda: behind(site))
    yield _problem(lambda: read_words(site.root))
    yield from (seen.problem for seen in PlanStore(site).seen())
    yield from Desk(site).broken().values()
    for path in sorted((site.root / RULES_FOLDER).glob("*.json")):
        yield _rule(site, path)
    yield from (cause.what for cause in causes(site) if not cause.plan_sha256)


def _rule(site: Site, path: Path) -> str:
    problem = _problem(lambda: open_rule(read_record(path), public_hex=site.key.public_hex))
    return f"{path} covers nothing: {problem}" if problem else ""


def _problem(read: Callable[[], object]) -> str:
    try:
        read()
    except (DatasitesError, PrivacyError, OSError) as error:
        return str(error)
    return ""
