"""Fingerprints as words, for people to say to each other by telephone. Pure.

Nine words from a list of 256 carry the first 72 bits of a key's 128-bit fingerprint, so making
another key with the same words takes about 2^72 attempts. Every word is told apart by its first
four letters, and what a person types is taken in any case and with spaces, dashes or commas.
The eight groups of hex digits carry all 128 bits and may be compared instead.
"""

from __future__ import annotations

import hmac
import re

WORD_COUNT = 9

_LIST = """
    acid alarm album amber anchor angle apple april apron arrow atlas autumn axis bacon badge
    bakery balcony banana barrel basket beaver bell berry bicycle biscuit blanket bottle branch
    bread bridge broom bucket butter cabin cactus camel candle canoe carbon carpet castle cedar
    cello chalk cherry circle clinic clover cobalt comet copper coral cotton crayon cricket
    crystal curtain daisy dance delta dentist desert diamond dinner doctor dolphin donkey dragon
    drawer drum duck eagle echo eight elbow elephant empire engine evening fabric falcon family
    farmer feather fence fiddle finger flamingo flute forest fossil fountain frozen fruit galaxy
    garden garlic gate giant giraffe glove golden gorilla granite guitar hammer harbor hazel
    helmet hermit honey hotel humble husky iceberg igloo indigo insect iron island ivory jacket
    jasmine jelly jewel jigsaw jungle junior kayak kettle kidney kingdom kitchen ladder lantern
    lava lemon library lily lion lobster logic lunar magnet mango maple marble melon metal
    mirror monkey motor mountain museum mustard napkin nectar needle nickel noodle nurse nutmeg
    oasis ocean olive onion opera orange orbit orchid otter oyster paddle palace panda paper
    parrot peach pebble pencil pepper piano picnic pilot planet pocket polar prism pumpkin
    purple puzzle pyramid quartz queen quiet quilt rabbit radio raven ribbon river robot rocket
    rooster ruby sailor salmon sandal saturn school scissors seven shadow silver snow sofa
    spider spoon square summer sunset table talent teapot temple tiger timber tomato tractor
    trumpet tulip tunnel turtle twelve umbrella uncle uniform valley vanilla velvet violin
    volcano vowel wagon walnut water window winter wizard yacht yellow yogurt zebra zero zigzag
    zinc
"""
WORDS = tuple(_LIST.split())


def fingerprint_words(fingerprint: str) -> str:
    """The words of a fingerprint, joined by dashes.

    Args:
        fingerprint: groups of hex digits, at least 72 bits of them.
    """
    data = bytes.fromhex(fingerprint.replace("-", "").replace(" ", ""))
    return "-".join(WORDS[byte] for byte in data[:WORD_COUNT])


def same_code(typed: str, *, fingerprint: str) -> bool:
    """Whether what a person typed is this fingerprint, in words or in hex digits.

    Anything shorter than the whole code is not the same: part of a code proves part of a key.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", typed.strip().lower()).strip("-")
    wanted = (fingerprint.lower(), fingerprint_words(fingerprint))
    return any(hmac.compare_digest(plain, code) for code in wanted)
