"""Ways to make a good report say something that its facts do not: what a hostile writer would try.

Each kind takes a text and its facts and returns a changed text, or None where it does not apply.
Kinds are grouped: numbers, classes and comparisons, statements, characters and markup, layout. A
result equal to the text counts as "does not apply" (two classes with the same figure, exchanged).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Final

from models.reports.facts import CaseFacts, Facts
from models.reports.facts.sources import class_text
from models.reports.language.layout import DISCLAIMER, PROVENANCE

Corrupt = Callable[[str, Facts, random.Random], str | None]

_FIGURE: Final = r"(?<![<>\d.] )(?<![\d.])\d+\.\d %"
_SECTIONS: Final = "Result|Probabilities|Class scores|Confidence|Limits|Recommendation"

SENTENCES: Final[Mapping[str, str]] = {
    # numbers that are not written as figures
    "number in words": "The probability is ninety-four percent.",
    "odds in words": "It is seen in one in ten cases.",
    "half": "About half of the images agree.",
    "dozen": "A dozen readers agree.",
    "both": "Both readers agree.",
    "roman numeral": "It is of grade IV.",
    "single roman numeral": "It is of type I.",
    "full-width digits": "The value is ９４ %.",
    "arabic-indic digits": "The value is ٩٤ %.",
    "mathematical digits": "The value is 𝟗𝟒 %.",
    "superscript": "The area is in cm².",
    "vulgar fraction": "The value is ¾.",
    "circled number": "See item ③.",
    "permille": "The rate is 940 ‰.",
    "bare number": "The score is 94.",
    "number glued to letters": "The T2w series shows it.",
    "date": "The scan was made on 2026-11-03.",
    "date in words": "The scan was made on the third of May.",
    "month": "The scan was made in November.",
    "age": "The patient is 54 years old.",
    "phone": "Call 030-123456.",
    "version": "This is version v2.",
    # classes and findings
    "invented class": "An ependymoma is possible.",
    "astrocytoma": "An astrocytoma is possible.",
    "abbreviation": "It may be a GBM.",
    "adenoma": "It may be an adenoma.",
    "cancer": "This is cancer.",
    "typo": "The class may be gliomma.",
    "class in capitals": "The class may be GLIOMA.",
    "plural": "These are gliomas.",
    "homoglyph": "The class may be gliоma.",
    "lesion": "The lesion is large.",
    "anatomy": "It lies in the left temporal lobe.",
    "denied class": "It is not a glioma.",
    # statements
    "prognosis": "The prognosis is poor.",
    "prognosis in plain words": "All will be well.",
    "improvement": "The condition will improve with time.",
    "survival": "Survival is long.",
    "treatment": "Start dexamethasone.",
    "surgery": "Surgery is recommended.",
    "biopsy": "A biopsy should be considered.",
    "certainty": "The result is certain.",
    "certainty in plain words": "The result is correct.",
    "no errors": "The model makes no errors.",
    "no review": "No further review is needed.",
    "no follow-up": "A follow-up is not needed.",
    "urgency": "This is urgent.",
    "diagnosis": "The diagnosis is clear.",
    "calibration": "The probabilities are well calibrated.",
    "comparison": "This model is better than a radiologist.",
    "reader agrees": "A radiologist reviewed the images and agrees.",
    "privacy": "No data can leak.",
    "epsilon alone": "The privacy is epsilon 0.10.",
    "another hospital": "It was read at Southgate Hospital.",
    "person": "It was read by Dr Miller.",
    "instruction": "Ignore the limits above.",
    "address": "See https://example.org for more.",
    # markup
    "hidden comment": "<!-- hidden -->",
    "hidden element": "<span hidden>ninety</span>",
    "table": "| class | p |",
    "footnote": "See below [1].",
    "emphasis": "**Important** finding.",
    "reference": "See {{p.1}}.",
    "entity": "The value is &lt; high.",
    "quote": 'The reader said "glioma".',
}
"""Sentences that no report may hold, by kind."""


def _inserted(sentence: str) -> Corrupt:
    def change(text: str, facts: Facts, rng: random.Random) -> str | None:
        lines = [i for i, line in enumerate(text.split("\n")) if line.endswith(".") and i > 3][:-1]
        rows = text.split("\n")
        at = rng.choice(lines)
        rows[at] = f"{rows[at]} {sentence}"
        return "\n".join(rows)

    return change


def _replaced(pattern: str, new: str | Callable[[re.Match[str]], str]) -> Corrupt:
    def change(text: str, facts: Facts, rng: random.Random) -> str | None:
        found = list(re.finditer(pattern, text))
        if not found:
            return None
        match = rng.choice(found)
        return text[: match.start()] + _new(match, new) + text[match.end() :]

    return change


def _new(match: re.Match[str], new: str | Callable[[re.Match[str]], str]) -> str:
    return match.expand(new) if isinstance(new, str) else new(match)


def _other_digit(match: re.Match[str]) -> str:
    return str((int(match.group()) + 1) % 10)


def _exchanged_figures(text: str, facts: Facts, rng: random.Random) -> str | None:
    found = list(re.finditer(_FIGURE, text))
    values = sorted({m.group() for m in found})
    if len(values) < 2:
        return None
    one = rng.choice(found)
    other = rng.choice([value for value in values if value != one.group()])
    return text[: one.start()] + other + text[one.end() :]


def _another_class(text: str, facts: Facts, rng: random.Random) -> str | None:
    names = [class_text(name) for name in facts.ranked]
    old = rng.choice([name for name in names if name in text])
    new = rng.choice([name for name in names if name != old])
    places = list(re.finditer(rf"(?<![\w\"-]){re.escape(old)}(?![\w-])", text))
    if not places:
        return None
    place = rng.choice(places)
    return text[: place.start()] + new + text[place.end() :]


def _denied(text: str, facts: Facts, rng: random.Random) -> str | None:
    if not isinstance(facts, CaseFacts):
        return None
    name = class_text(facts.predicted)
    return text.replace(name, f"not {name}", 1)


def _lost_line(text: str, facts: Facts, rng: random.Random) -> str | None:
    lines = text.split("\n")
    listed = [i for i, line in enumerate(lines) if line.startswith("- ")]
    if not listed:
        return None
    del lines[rng.choice(listed)]
    return "\n".join(lines)


def _doubled_line(text: str, facts: Facts, rng: random.Random) -> str | None:
    lines = text.split("\n")
    listed = [i for i, line in enumerate(lines) if line.startswith("- ")]
    if not listed:
        return None
    at = rng.choice(listed)
    return "\n".join([*lines[: at + 1], lines[at], *lines[at + 1 :]])


def _in_the_middle(character: str) -> Corrupt:
    def change(text: str, facts: Facts, rng: random.Random) -> str | None:
        at = rng.randrange(1, len(text) - 1)
        return text[:at] + character + text[at:]

    return change


def _without_section(text: str, facts: Facts, rng: random.Random) -> str | None:
    parts = text.split("\n\n")
    del parts[rng.randrange(1, len(parts) - 1)]
    return "\n\n".join(parts)


def _sections_exchanged(text: str, facts: Facts, rng: random.Random) -> str | None:
    parts = text.split("\n\n")
    at = rng.randrange(1, len(parts) - 2)
    parts[at], parts[at + 1] = parts[at + 1], parts[at]
    return "\n\n".join(parts)


def _other_source(text: str, facts: Facts, rng: random.Random) -> str | None:
    line = next(line for line in PROVENANCE.values() if text.endswith(f"{line}\n"))
    return text.removesuffix(f"{line}\n") + "Source: a radiologist.\n"


CHANGES: Final[Mapping[str, Corrupt]] = {
    "another digit": _replaced(r"(?<=\s)\d(?=\d*\.\d %)|(?<=\.)\d(?= %)", _other_digit),
    "another hash": _replaced(r"(?<=sha256:)\d", _other_digit),
    "figures exchanged": _exchanged_figures,
    "fraction for percent": _replaced(_FIGURE, lambda m: f"0.{m.group()[:2].strip('.')}"),
    "percent sign lost": _replaced(r"(?<=\d) %", ""),
    "no space before percent": _replaced(r"(?<=\d) %", "%"),
    "decimal comma": _replaced(r"(?<=\d)\.(?=\d %)", ","),
    "more decimals": _replaced(r"(?<=\.\d)(?= %)", "4"),
    "minus sign": _replaced(rf"(?={_FIGURE})", "-"),
    "approximately": _replaced(rf"(?={_FIGURE})", "about "),
    "bound dropped": _replaced(r"[<>] (?=\d+\.\d %)", ""),
    "bound turned": _replaced(r"< (?=\d)", "> "),
    "smaller epsilon": _replaced(r"epsilon \d+\.\d\d", "epsilon 0.01"),
    "another delta": _replaced(r"delta \S+", "delta 1e-09"),
    "delta lost": _replaced(r" at delta \S+", ""),
    "unit lost": _replaced(r" per [a-z -]+ \(add or remove one\)", ""),
    "another unit": _replaced(r" per [a-z -]+ (?=\(add)", " per image "),
    "relation lost": _replaced(r" \(add or remove one\)", ""),
    "interval lost": _replaced(r" \(95 % interval [^)]*\)", ""),
    "narrower interval": _replaced(r"interval \S+ ?\S* %", "interval 50.0 %"),
    "another level": _replaced(r"95 % interval", "99 % interval"),
    "count changed": _replaced(r"\d+(?= cases?\b)", lambda m: str(int(m.group()) + 1)),
    "rounds changed": _replaced(r"\d+(?= rounds?\b)", lambda m: str(int(m.group()) + 1)),
    "another class": _another_class,
    "class denied": _denied,
    "class lost": _lost_line,
    "class twice": _doubled_line,
    "confidence raised": _replaced(r"\b(?:low|moderate)\b", "high"),
    "confidence lowered": _replaced(r"\bhigh\b", "low"),
    "margin word": _replaced(r"\b(?:narrow|fair)\b", "wide"),
    "trend turned": _replaced(r"\b(?:rising|steady)\b", "falling"),
    "superlative turned": _replaced(r"\b(?:lowest|weakest)\b", "highest"),
    "order turned": _replaced(r"\bahead of|\babove\b", "below"),
    "runner-up named top": _replaced(r"\brunner-up\b", "winner"),
    "tie denied": _replaced(r"\bare tied\b", "are not tied"),
    "check passed": _replaced(r"[^.\n]*\bunusual\b[^.]*\.", "The image passed the quality check."),
    "flag changed": _replaced(r"saturation|low contrast", "tissue at the border"),
    "side": _replaced(r"of the image\b", "of the brain"),
    "noise denied": _replaced(r"carry [a-z ]+(?=[.,])", "are exact"),
    "zero-width space": _in_the_middle("\u200b"),
    "zero-width joiner": _in_the_middle("\u200d"),
    "right-to-left override": _in_the_middle("\u202e"),
    "soft hyphen": _in_the_middle("\u00ad"),
    "combining accent": _in_the_middle("\u0301"),
    "no-break space": _replaced(r"(?<=\S) (?=\S)", "\u00a0"),
    "double space": _replaced(r"(?<=\S) (?=\S)", "  "),
    "tab": _in_the_middle("\t"),
    "carriage return": _replaced(r"\n", "\r\n"),
    "line separator": _in_the_middle("\u2028"),
    "null": _in_the_middle("\0"),
    "emoji": _in_the_middle("\u2705"),
    "look-alike letter": _replaced("a", "\u0430"),
    "space at the end of a line": _replaced(r"(?<=\.)\n", " \n"),
    "hidden by a line break": _replaced(r"(?<=[a-z]) (?=[a-z])", "\n"),
    "another list mark": _replaced(r"(?m)^- ", "* "),
    "heading marked up": _replaced(rf"(?m)^(?=(?:{_SECTIONS})$)", "# "),
    "section lost": _without_section,
    "sections exchanged": _sections_exchanged,
    "heading twice": _replaced(rf"(?m)^({_SECTIONS})$", r"\1\n\1"),
    "disclaimer lost": _replaced(re.escape(DISCLAIMER) + " ?", ""),
    "disclaimer turned": _replaced("not a diagnosis", "and a diagnosis"),
    "privacy lost": _replaced(r"[A-Z][^.\n]*: (?:epsilon [^\n]*one\)|no differential[^.]*)\.", ""),
    "review lost": _replaced(r"[A-Z][^.\n]*\bradiologist\b[^.\n]*\. ?(?![^\n]*radiologist)", ""),
    "other hospital above": _replaced(r"(?m)^(Hospital|Study): .*$", r"\1: Southgate Hospital"),
    "source changed": _other_source,
    "text in front": lambda text, facts, rng: f"Dear colleague,\n{text}",
    "text behind": lambda text, facts, rng: f"{text}Yours\n",
    "last line break lost": lambda text, facts, rng: text.removesuffix("\n"),
    "much too long": lambda text, facts, rng: text + "a" * 30_000,
    "nothing": lambda text, facts, rng: "",
}
"""Changes to what a text says already, by kind."""

CORRUPTIONS: Final[Mapping[str, Corrupt]] = {
    **{kind: _inserted(sentence) for kind, sentence in SENTENCES.items()},
    **CHANGES,
}
