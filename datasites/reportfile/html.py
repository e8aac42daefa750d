"""A report as one HTML file: no script, no link, nothing loaded from elsewhere. Pure."""

from __future__ import annotations

from html import escape

from datasites.desk.content import BLOCK
from datasites.reportfile.page import Page

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}
body{color:#1b1b1b}
h1{margin-bottom:.2rem}h2{margin:1.4rem 0 .2rem;font-size:1.1rem}p,ul{margin:.2rem 0}
.status{padding:.4rem .7rem;border-left:.3rem solid #2d6a4f;background:#eef6f1}
.held{border-color:#b3261e;background:#fbeeed;font-weight:600}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:.6rem 0}
dt{color:#555}dd{margin:0;overflow-wrap:anywhere}.block{background:#111;color:#111}
footer{margin-top:2rem;border-top:1px solid #ccc;padding-top:.5rem;color:#555;font-size:.9rem}
table{border-collapse:collapse;font-size:.9rem}td{padding:.1rem 1rem .1rem 0;vertical-align:top}
@media (prefers-color-scheme:dark){body{background:#161616;color:#eee}dt,footer{color:#aaa}
.status{background:#1d2b24}.held{background:#331b1a}.block{background:#eee;color:#eee}}
@media print{body{margin:0;max-width:none}}
"""


def html_of(page: Page) -> str:
    """The whole file."""
    held = "" if page.released else " held"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_words(page.title, plain=True)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_words(page.title)}</h1>",
        f'<p class="status{held}">{_words(page.status)}</p>',
        _pairs(page.header),
        *(_section(heading, lines) for heading, lines in page.sections),
        "<h2>How it was made</h2>",
        *(f"<p>{_words(line)}</p>" for line in page.origin),
        _facts(page.facts),
        f"<footer>{_words(page.footer)}</footer></body></html>",
    ]
    return "\n".join(part for part in parts if part)


def _section(heading: str, lines: tuple[str, ...]) -> str:
    shown = [f"<h2>{_words(heading)}</h2>"]
    items: list[str] = []
    for line in lines:
        if line.startswith("- "):
            items.append(f"<li>{_words(line[2:])}</li>")
            continue
        shown += [f"<ul>{''.join(items)}</ul>"] if items else []
        items = []
        shown.append(f"<p>{_words(line)}</p>")
    shown += [f"<ul>{''.join(items)}</ul>"] if items else []
    return "\n".join(shown)


def _pairs(rows: tuple[tuple[str, str], ...]) -> str:
    cells = "".join(f"<dt>{_words(label)}</dt><dd>{_words(value)}</dd>" for label, value in rows)
    return f"<dl>{cells}</dl>"


def _facts(rows: tuple[tuple[str, str], ...]) -> str:
    if not rows:
        return ""
    cells = "".join(f"<tr><td>{_words(n)}</td><td>{_words(text)}</td></tr>" for n, text in rows)
    return (
        f"<details><summary>Facts it was checked against</summary><table>{cells}</table></details>"
    )


def _words(text: str, *, plain: bool = False) -> str:
    safe = escape(text)
    if plain:
        return safe.replace(BLOCK, "[redacted]")
    return safe.replace(BLOCK, '<span class="block" aria-label="redacted">[redacted]</span>')
