"""Reads a finished report: layout, sections, sentences, tokens. Pure, and not used to write one.

Reading is total: every character of the body ends up in a token or in a finding. What is a value
of the facts (longest match first, on word borders) becomes a "class", "figure" or "name" token;
what is left must be a word of the vocabulary or plain punctuation. Digits outside such values,
number words, unknown words and unusual characters are findings here; what the sentences claim is
left to `models.reports.verify.claims`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from models.reports.errors import ReportFinding
from models.reports.facts import Facts, Reference, references
from models.reports.language import DISCLAIMER, PROVENANCE, header_of, render, sections_of
from models.reports.vocabulary import in_vocabulary, kind_of_unknown

MAX_CHARACTERS: Final = 20_000

_PIECES: Final = re.compile(
    r"(?P<number>[^\s\d]{0,30}\d\S*)|(?P<word>[A-Za-z]+(?:['-][A-Za-z]+)*)|(?P<space> +)"
    r"|(?P<stop>\.)|(?P<punctuation>[,;:()])|(?P<other>.)",
    re.DOTALL,
)
_ROMAN: Final = re.compile(r"[IVXLCDM]{2,}")
_DATE: Final = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}")

TokenKind = Literal["word", "class", "figure", "name", "stop"]


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of a sentence.

    Attributes:
        kind: "word" (lower case unless the vocabulary has capitals), a kind of fact, or "stop".
        text: as it stands.
        start: index of its first character in the whole text.
        end: index after its last character.
        facts: the references that are written this way; empty for words.
    """

    kind: TokenKind
    text: str
    start: int
    end: int
    facts: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence or list item.

    Attributes:
        section: heading it stands under.
        tokens: its pieces, in order, without punctuation.
        start: index of its first character.
        end: index after its last character.
    """

    section: str
    tokens: tuple[Token, ...]
    start: int
    end: int

    @property
    def words(self) -> tuple[str, ...]:
        """Its words in lower case, facts left out."""
        return tuple(t.text.lower() for t in self.tokens if t.kind == "word")

    def of(self, kind: TokenKind) -> tuple[Token, ...]:
        """Its tokens of one kind."""
        return tuple(token for token in self.tokens if token.kind == kind)


@dataclass(slots=True)
class Reading:
    """What was read: sentences, and what is wrong with the words themselves.

    Attributes:
        sentences: in the order of the text.
        findings: layout, numbers, words and characters that must not be there.
    """

    sentences: list[Sentence] = field(default_factory=list)
    findings: list[ReportFinding] = field(default_factory=list)


def read_report(text: str, facts: Facts) -> Reading:
    """Read a text as a report of these facts; never raises."""
    reading = Reading()
    if len(text) > MAX_CHARACTERS:
        message = f"a report has at most {MAX_CHARACTERS} characters, this one {len(text)}"
        reading.findings.append(ReportFinding("layout", 0, len(text), text[:20], message))
        return reading
    body = _body_of(text, facts, reading)
    matcher = _Matcher(facts)
    for section, start, end in _lines(text, body, facts, reading):
        _read_line(text, section, (start, end), matcher, reading)
    return reading


def _body_of(text: str, facts: Facts, reading: Reading) -> tuple[int, int]:
    """Check header and provenance by comparison; return where the body starts and ends."""
    header = render(header_of(facts), facts).text
    start = len(header)
    if not text.startswith(header):
        shared = next(
            (i for i, (a, b) in enumerate(zip(text, header, strict=False)) if a != b),
            min(len(text), len(header)),
        )
        message = f"the header must read {header!r}"
        reading.findings.append(
            ReportFinding("layout", shared, shared, text[shared : shared + 20], message)
        )
        first = text.find(f"{sections_of(facts)[0]}\n")
        start = max(first, 0)
    endings = [f"\n\n{line}\n" for line in PROVENANCE.values()]
    ending = next((e for e in endings if text.endswith(e)), None)
    if ending is None:
        message = f"the last line must be one of {list(PROVENANCE.values())}"
        reading.findings.append(ReportFinding("layout", len(text), len(text), text[-20:], message))
        return min(start, len(text)), len(text)
    return min(start, len(text) - len(ending)), len(text) - len(ending)


def _lines(
    text: str, body: tuple[int, int], facts: Facts, reading: Reading
) -> Iterator[tuple[str, int, int]]:
    """Yield (section, start, end) of each line of prose; headings must come in order, once."""
    wanted = list(sections_of(facts))
    section, position = "", body[0]
    for line in text[body[0] : body[1]].split("\n"):
        start, position = position, position + len(line) + 1
        if line in sections_of(facts):
            if not wanted or line != wanted[0]:
                message = f"heading {line!r} is out of order; the order is {sections_of(facts)}"
                reading.findings.append(
                    ReportFinding("layout", start, start + len(line), line, message)
                )
            section = line
            wanted = [heading for heading in wanted if heading != line]
            continue
        if line.startswith(DISCLAIMER) and section == "Limits":
            start += len(DISCLAIMER)
        elif section == "Limits" and text[: start - 1].endswith("\nLimits"):
            message = f"Limits must open with {DISCLAIMER!r}"
            reading.findings.append(ReportFinding("missing", start, start, "", message))
        if line:
            yield section, start, position - 1
    for heading in wanted:
        message = f"section {heading!r} is missing"
        reading.findings.append(ReportFinding("missing", body[1], body[1], "", message))


class _Matcher:
    """Finds values of the facts in a text, longest first, on word borders."""

    def __init__(self, facts: Facts) -> None:
        by_text: dict[str, list[Reference]] = {}
        for reference in references(facts).values():
            if reference.role != "word":
                by_text.setdefault(reference.text, []).append(reference)
        self.by_text: Mapping[str, tuple[Reference, ...]] = {
            text: tuple(rows) for text, rows in by_text.items()
        }
        longest_first = sorted(by_text, key=lambda text: (-len(text), text))
        choices = "|".join(re.escape(text) for text in longest_first)
        # A value inside a longer number or word is not that value.
        self.pattern = re.compile(rf"(?<![\w+.,'-])(?:{choices})(?![\w%'-])(?![.,:]\w)")


def _read_line(
    text: str, section: str, bounds: tuple[int, int], matcher: _Matcher, reading: Reading
) -> None:
    """Cut one line into sentences; a list item's dash is its only dash."""
    start, end = bounds
    if text.startswith("- ", start):
        start += 2
    tokens: list[Token] = []
    opening = True
    for token in _tokens(text, (start, end), matcher, reading):
        if token.kind == "word":
            _check_word(token, opening, reading)
        opening = token.kind == "stop"
        tokens.append(token)
        if token.kind == "stop":
            _close(section, tokens, reading)
            tokens = []
    _close(section, tokens, reading)


def _close(section: str, tokens: list[Token], reading: Reading) -> None:
    if tokens:
        sentence = Sentence(section, tuple(tokens), tokens[0].start, tokens[-1].end)
        reading.sentences.append(sentence)


def _tokens(
    text: str, bounds: tuple[int, int], matcher: _Matcher, reading: Reading
) -> Iterator[Token]:
    position, end = bounds
    for match in matcher.pattern.finditer(text, position, end):
        yield from _plain_tokens(text, (position, match.start()), reading)
        found = matcher.by_text[match.group()]
        kind: TokenKind = "figure"
        for role in ("class", "name"):
            if found[0].role == role:
                kind = role
        yield Token(kind, match.group(), match.start(), match.end(), found)
        position = match.end()
    yield from _plain_tokens(text, (position, end), reading)


def _plain_tokens(text: str, bounds: tuple[int, int], reading: Reading) -> Iterator[Token]:
    """What stands between values: words and stops come out, everything else is judged here."""
    for match in _PIECES.finditer(text, *bounds):
        piece, start, end = match.group(), match.start(), match.end()
        if match.lastgroup == "word":
            yield Token("word", piece, start, end)
        elif match.lastgroup == "stop":
            yield Token("stop", piece, start, end)
        elif match.lastgroup == "number" or (match.lastgroup == "other" and piece.isnumeric()):
            what = "date" if _DATE.search(piece) else "number"
            message = f"this {what} is not in the facts, or not as the facts are written"
            reading.findings.append(ReportFinding("number", start, end, piece, message))
        elif match.lastgroup == "other":
            message = f"a report holds no {piece!r} outside its facts"
            reading.findings.append(ReportFinding("character", start, end, piece, message))


def _check_word(token: Token, opening: bool, reading: Reading) -> None:
    base = token.text.removesuffix("'s")
    if in_vocabulary(base, opens_sentence=opening):
        return
    roman = _ROMAN.fullmatch(token.text) is not None
    kind = "number" if roman else kind_of_unknown(base, opens_sentence=opening)
    message = {
        "number": "numbers are written only as the facts are",
        "class": "no such class or finding is in the facts",
        "forbidden": "reports state no prognosis, treatment, urgency or certainty",
        "name": "no such name is in the facts",
        "word": "not in the report vocabulary; use plainer words",
    }[kind]
    reading.findings.append(ReportFinding(kind, token.start, token.end, token.text, message))
