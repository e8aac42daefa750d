"""The words a report may use, and words that are refused with a reason of their own.

The vocabulary is closed: between the values filled in from facts, a report consists of the words
below and of plain punctuation, nothing else. So an invented name, disease, drug or number word
cannot pass because nobody thought of forbidding it. The words are chosen so that few sentences
can be turned round: there is no "rarely", "unlikely" or "unnecessary", negation is admitted in the
section on limits only, and every word that compares, ranks or grades is checked against the facts
(`models.report_claims`).

The second half only gives refused words a better name than "not in the vocabulary".
"""

from __future__ import annotations

import re
from typing import Final

_GRAMMAR = """
a about after again against all along also although an and any are around as at back based be
because been before being between but by can could did do does during each either even every for
from further given gives had has have how however if in instead into is it its itself just may
might more need needs next of off on only onto or other others our out over own per rather same
shall should since so some still such than that the their them then there therefore these they
this those though through thus to together toward towards under until upon use used uses using via
was we were what when where whether which while who whose will with within would yet
"""
_NEGATION = "cannot neither no nor not without"
_IMAGING = """
acquired acquisition acquisitions anatomical appearance artefact artefacts axial brain calibrated
calibration contrast contrast-enhanced coronal diffusion head image images imaging intensity
motion MRI outlier perfusion plane planes protocol protocols quality radiologist radiologists
radiology reader readers reading readings region regions resolution sagittal scan scanner scanners
scans sellar sequence sequences series signal slice slices spectroscopy structures studies study
tissue
"""
_CLINIC = """
assess assessed assessment assistance attachment available board care case cases caution clinic
clinical clinician clinicians colleague colleagues condition conditions contact context decision
decisions department discuss discussed discussion dural endocrine examination examinations
examined experienced field fields finding findings follow-up history hormone hospital hospitals
independent laboratory local meeting multidisciplinary neuro-oncology panel picture present
presented prior setting settings specialist specialists staff symptoms team test tests visual
work-up
"""
_MODEL = """
accuracy aggregate algorithm alignment analysis assign assigned assignment assigns attributed
attributes AUC automated automatic automatically average balanced belong belongs calculated chosen
class classes classification classified classifier classifiers classifies compared comparison
computed computer confidence confused confusion correct correctly count counts cover covered
covers data deep differ difference differences different differential distributes distribution
error errors estimate estimated estimates evaluated evaluation evaluations exact example examples
F-score F-scores favours figure figures fixed group groups input interval label labelled labels
learned learning level levels macro margin mean measured method misread mistake mistaken mistakes
mix-up mix-ups model models network networks noise noised output outputs overall pattern patterns
per-class performance places pointer points precision predicted prediction predictions privacy
probabilities probability probable process protected protection puts range rank ranked ranking
ranks rate rates reach reached reaches read reads recall recognise recognised recognises record
recorded report reported reports reserve result resulting results return returned returns rounds
rule rules run score scored scores set sets share shares software spread spreads statement system
table tie tied tool train trained training trial uncalibrated uncertain uncertainty unit units
unusual value values variation version versions weight weights word words
"""
_DEGREES = """
above ahead behind below best equal equally fair falling frequent high highest leading leads least
lies likely low lowest moderate most narrow over rising runner-up steady strongest weakest wide
"""
_PROSE = """
account add added additional adequate advice advised advises agree agreement aid aim allow allows
among another applies apply area areas aspect aspects associated attention averaged averages aware
basis become becomes bring brings broad brought build calls careful carefully carries carry change
changed changes check checked checks choose collect collected combined come comes common concern
concerns conclusion conduct consider considered considering considers consistent contain contains
continue continued coordinates cost could current decide decided depend depending depends describe
described describes description design designed detail detailed details determine determined
developed direct discussing draw drawn due earlier early effect especially evidence exist existing
expected experience explain explained extend extended extent extra factor factors focus follow
following follows form formal found future gather gave general generally give giving grounds guide
guided guides happen help helpful helps hold holds illustrates important improve improved improves
improving include included includes including indicate indicated indicates influence inform
information informed inspect inspected institution intended interpret interpretation interpreted
interpreting issue judge judged judgement keep kept key kind know known knows lack larger later
lead leave leaves less lessen light limit limited limits line list listed lists little long look
lowers made main mainly make makes making manner marks material matter may mean means meet mention
more moreover namely nature necessary needed new note noted notes number obtain obtained obtaining
occur offer offered offers open opinion option options order origin outcome outside part
particular particularly passed people perform performed performs perhaps persist place plan
planned plus point poorly position possible practice prepare prepared prepares preparing previous
process produce produced produces proper properly propose proposed prospective provide provided
provides providing public purpose put question questions quite reason reasonable reasons receive
received recent recommend recommendation recommendations recommended recommends reduce refer
referred refers reflect reflects regard regarding regular relate related relevant reliable remain
remaining remains repeat repeated represent represents request requested require required requires
respect responsibility responsible rest rests review reviewed reviewing reviews role sample
sampling say see seek seen sees select selected sensitive separate serve serves short side similar
simple site sites situation small source sources special specific stage standard stands start
state stated states steady steps subject suggest suggested suggesting suggests suitable summarise
summarised summarises summary supplementary supplied support supported supports take taken takes
taking task tell tells term terms therefore thorough time title took topic toward trend turn type
typical understand understanding understood usable useful user users usual usually various
verified view views way ways weigh weighed weighing well whole wish work working works write
written wrong
"""

VOCABULARY: Final[frozenset[str]] = frozenset(
    " ".join((_GRAMMAR, _NEGATION, _IMAGING, _CLINIC, _MODEL, _DEGREES, _PROSE)).split()
)
"""Every word of a report, as written in the middle of a sentence ("MRI", "F-score", "scan")."""

NEGATIONS: Final = frozenset(_NEGATION.split())

NUMBER_WORDS: Final = frozenset(
    [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
        "thirty",
        "forty",
        "fifty",
        "sixty",
        "seventy",
        "eighty",
        "ninety",
        "hundred",
        "hundreds",
        "thousand",
        "thousands",
        "million",
        "millions",
        "billion",
        "dozen",
        "dozens",
        "half",
        "halves",
        "quarter",
        "quarters",
        "third",
        "thirds",
        "fourth",
        "fifth",
        "sixth",
        "seventh",
        "eighth",
        "ninth",
        "tenth",
        "first",
        "second",
        "twice",
        "thrice",
        "once",
        "double",
        "triple",
        "both",
        "single",
        "pair",
        "couple",
        "majority",
        "minority",
        "percent",
        "percentage",
        "nil",
        "none",
        "once-only",
        "ones",
        "twofold",
        "tenfold",
    ]
)
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
