"""The words a report may use, and words that are refused with a reason of their own.

The vocabulary is closed: between the values filled in from facts, a report consists of the words
below and of plain punctuation, nothing else. So an invented name, disease, drug or number word
cannot pass because nobody thought of forbidding it. The words are chosen so that few sentences
can be turned round: there is no "rarely", "unlikely" or "unnecessary", negation is admitted in the
section on limits only, and every word that compares, ranks or grades is checked against the facts
(`models.reports.verify.claims`). No word is here that no sentence of the language
(`models/reports/language/language.toml`) needs.

The second half only gives refused words a better name than "not in the vocabulary".
"""

from __future__ import annotations

import re
from typing import Final

_GRAMMAR = """
a about after against all along an and any are as at be before being between by can could do each
even for from further given gives has how if in is it its may more needs next of on only other over
rather same should so still than that the these this to together use used uses was were where
whether with would
"""
_NEGATION = "cannot no not without"
_IMAGING = """
acquisition anatomical contrast contrast-enhanced diffusion image images imaging motion MRI outlier
perfusion protocol protocols quality radiologist reader reading region scan scanner scanners sellar
sequence sequences spectroscopy studies study
"""
_CLINIC = """
assess attachment available board case cases caution clinical conditions contact decision discussed
discussion dural endocrine examination field fields finding findings follow-up history hormone
hospital hospitals independent local multidisciplinary neuro-oncology panel picture presented prior
settings symptoms team test visual work-up
"""
_MODEL = """
accuracy aggregate analysis assignment assigns attributes AUC automated automatic belong belongs
class classes classified classifier compared comparison confidence confusion correct counts cover
covered data differ differences error errors evaluation exact examples F-score favours figures fixed
interval level macro margin misread mistaken mix-up mix-ups model network noise overall places
pointer points precision predicted prediction privacy probabilities probability probable puts rank
ranked ranks rates reached reaches read reads recall recognise recognised reports result results
returns rounds rule scores set share shares spreads statement tie tied trained training trial
uncalibrated uncertainty unusual value values variation weights word
"""
_DEGREES = """
above ahead best equally fair falling frequent high highest lies likely low lowest moderate most
narrow rising runner-up steady weakest wide
"""
_PROSE = """
added additional adequate advised among another attention averaged averages calls carry change check
checked come comes conclusion considered continue coordinates describe detail draw drawn due earlier
effect extended following follows gave give help helpful hold holds improve improved included judged
known knows larger later lead leaves less lessen limited limits listed little lowers mainly marks
namely necessary needed new noted open outcome outside part passed performs persist place planned
possible previous prospective recommended reduce reliable remain remains repeat repeated required
rests review reviewed sampling say sees sensitive side site small source standard support taken tell
tells took trend view way weighed works wrong
"""

VOCABULARY: Final[frozenset[str]] = frozenset(
    " ".join((_GRAMMAR, _NEGATION, _IMAGING, _CLINIC, _MODEL, _DEGREES, _PROSE)).split()
)
"""Every word of a report, as written in the middle of a sentence ("MRI", "F-score", "scan")."""

NEGATIONS: Final = frozenset(_NEGATION.split())

_NUMBERS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred
hundreds thousand thousands million millions billion dozen dozens half halves quarter quarters third
thirds fourth fifth sixth seventh eighth ninth tenth first second twice thrice once double triple
both single pair couple majority minority percent percentage nil none once-only ones twofold tenfold
"""
NUMBER_WORDS: Final = frozenset(_NUMBERS.split())
"""Words that state a number; a report states numbers only as its facts are written."""

_DISEASE = re.compile(
    r"\w+(?:omas?|omata|itis|emia|aemia|plasia|plasms?|trophy|omatous|omatosis|ectasia)"
    r"|tumou?rs?|tumou?rous|cancers?|cancerous|malignan\w*|benign|neoplas\w*|metasta\w*|lesions?"
    r"|mass(?:es)?|cysts?|cystic|abscess\w*|strokes?|infarct\w*|h[a]?emorrh\w*|bleed\w*|aneurysm\w*"
    r"|sclerosis|dementia|alzheimer\w*|epilep\w*|hydrocephalus|o?edema\w*|healthy|normal|abnormal"
    r"|disease\w*|disorder\w*|grade|gbm|idh"
)
_FORBIDDEN = re.compile(
    r"prognos\w*|surviv\w*|mortal\w*|death|die[sd]?|dying|fatal\w*|terminal\w*|cur(?:e[sd]?|able)"
    r"|incurable|recurr\w*|remission|progress(?:es|ed|ing|ion)?|outlook|expectancy|lifespan"
    r"|surg\w*|resect\w*|operat\w*|craniotom\w*|biops\w*|radiotherap\w*|chemotherap\w*|therap\w*"
    r"|radiation|irradiat\w*|treat\w*|prescri\w*|administ\w*|dos(?:e[sd]?|age|ing)|drugs?"
    r"|medic\w*|steroid\w*|dexamethasone|temozolomide|urgen\w*|emergenc\w*|immediate\w*"
    r"|certain\w*|definit\w*|undoubt\w*|doubt\w*|unequivocal\w*|clearly|obvious\w*|prove[snd]?"
    r"|proof|confirm\w*|guarante\w*|always|never|surely?|pathognomonic|diagnos\w*|exclude[sd]?"
    r"|excluding|must|infallib\w*|impossible|unnecessary|needless|cleared|discharge[sd]?"
)


def kind_of_unknown(word: str, *, opens_sentence: bool) -> str:
    """What a word outside the vocabulary is: "number", "class", "forbidden", "name", "word"."""
    lowered = word.lower()
    parts = lowered.split("-")
    if any(part in NUMBER_WORDS for part in parts):
        return "number"
    if any(_DISEASE.fullmatch(part) for part in parts):
        return "class"
    if any(_FORBIDDEN.fullmatch(part) for part in parts):
        return "forbidden"
    if any(part[:1].isupper() for part in word.split("-")) and not opens_sentence:
        return "name"
    return "word"


def in_vocabulary(word: str, *, opens_sentence: bool) -> bool:
    """Whether a report may use this word here; other capitals only at the start of a sentence."""
    if word in VOCABULARY:
        return True
    return opens_sentence and word[:1].lower() + word[1:] in VOCABULARY
