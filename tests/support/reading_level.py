"""The Flesch-Kincaid grade of an English text.

J. P. Kincaid et al. 1975, *Derivation of new readability formulas for Navy enlisted personnel*
(Research Branch Report 8-75): 0.39 words a sentence + 11.8 syllables a word - 15.59.  A number, an
amount or a date's year is a word of one syllable.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*|\d[\d,.]*")
# A point inside a number ends no sentence; a line of a list does.
_END = re.compile(r"[.!?](?=\s|$)|\n+|:\s")
_SILENT = re.compile(r"(?<=[^aeiouyl])e$|(?<=[^aeiouytd])ed$|(?<=[^aeiouyscxzg])es$")
_VOWELS = re.compile(r"[aeiouy]+")


def grade(text: str) -> float:
    """The grade of a text with at least one word.

    >>> round(grade("The cat sat on the mat. It was glad."), 1)
    -2.0
    """
    without_numbers = re.sub(r"^\d+\. ", "", text, flags=re.MULTILINE)
    words = _WORD.findall(without_numbers)
    sentences = [part for part in _END.split(without_numbers) if _WORD.search(part)]
    syllables = sum(count_syllables(word) for word in words)
    return 0.39 * len(words) / len(sentences) + 11.8 * syllables / len(words) - 15.59


def count_syllables(word: str) -> int:
    """The syllables of a word, about: groups of vowels, without a silent ending.

    >>> [count_syllables(word) for word in ("late", "decided", "comparison", "account", "1,234")]
    [1, 3, 4, 2, 1]
    """
    letters = re.sub(r"[^a-z]", "", word.lower())
    return max(1, len(_VOWELS.findall(_SILENT.sub("", letters))))
