"""Classes of tokens that have a name: kinds of words, numbers and signs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

_WORDS = {
    "articles": "the a an",
    "demonstratives": "this that these those such",
    "personal pronouns": "i we you he she it they me us him her them",
    "possessives": "my our your his her its their whose",
    "prepositions": "of in to for on at by with from into over under between among through during against about within "
    "without across toward towards upon around near above below since until after before per via despite",
    "coordinating conjunctions": "and or but nor yet so",
    "subordinating conjunctions": "because although though while whereas if unless when as since whether until",
    "relative and question words": "which who whom whose what where when why how",
    "forms of be": "is are was were be been being am 's 're",
    "forms of have and do": "have has had having do does did done doing",
    "modal verbs": "will would can could may might shall should must cannot",
    "negations": "not no nor never none neither without n't cannot",
    "quantity words": "all any some many most more much several few both each every other another less least half",
    "number words": "one two three four five six seven eight nine ten hundred thousand million billion trillion dozen "
    "first second third fourth quarter half",
    "months": "january february march april may june july august september october november december",
    "time words": "year years quarter quarters month months week weeks day days today annual annually quarterly "
    "monthly recent recently period periods time date fiscal century decade decades",
    "words of rise": "increase increased increases increasing rise rose rising risen grow grew growth higher up gain "
    "gains gained improve improved improvement expand expanded expansion strong stronger strength strengthened",
    "words of fall": "decrease decreased decreases decreasing fall fell falling fallen decline declined declines lower "
    "down loss losses drop dropped reduce reduced reduction weak weaker weakness slow slowed slower contraction",
    "comparison words": "than more less higher lower compared relative same similar different greater smaller larger",
    "company words": "company companies corporation inc corp co ltd llc firm firms business businesses subsidiary "
    "subsidiaries group issuer registrant enterprise enterprises",
    "bank and credit words": "bank banks banking credit loan loans lending lender lenders debt borrower borrowers "
    "borrowing borrowings mortgage mortgages deposit deposits notes bonds bond facility collateral default",
    "interest and rate words": "interest rate rates yield yields basis points libor sofr funds federal discount",
    "monetary policy words": "monetary policy committee inflation federal reserve fomc fed accommodation target "
    "dual mandate stance tightening easing",
    "economy words": "economy economic growth unemployment labor employment output gdp consumption spending "
    "productivity wages demand supply prices price",
    "market words": "market markets stock stocks equity equities share shares securities trading investors investor "
    "index exchange portfolio volatility assets asset",
    "accounting words": "revenue revenues sales income earnings expense expenses cost costs profit margin net gross "
    "operating cash tax taxes assets liabilities depreciation amortization goodwill impairment accrued",
    "law and filing words": "agreement section act law rule rules regulation regulations regulatory court securities "
    "commission filing form report exhibit pursuant herein thereof plaintiff claims litigation",
    "risk words": "risk risks uncertainty uncertain adverse adversely exposure could may loss losses volatility",
    "government words": "government state states federal congress president council court law department agency public "
    "national country countries china united",
    "people words": "people man men woman women person persons family children president chairman officer director "
    "directors employees members participants",
    "science words": "research study scientists university cells species energy water earth planet data scientist dr "
    "professor researchers virus disease climate",
}

FUNCTION_WORDS = frozenset(" ".join(list(_WORDS.values())[:13]).split())
"""Words that hold sentences together, whatever they are about: the first thirteen lists."""

_FORMS: dict[str, Callable[[str], bool]] = {
    "digits": lambda text: bool(re.fullmatch(r"\s?[0-9]+", text)),
    "spaces before numbers": lambda text: text == " ",
    "line breaks": lambda text: "\n" in text,
    "full stops": lambda text: text.strip() in (".", "...", "!", "?", '."', ".)", ").", ".'"),
    "commas": lambda text: text.strip() in (",", ',"', "),", ",'"),
    "colons and semicolons": lambda text: text.strip() in (";", ":", "):", ");"),
    "hyphens and dashes": lambda text: bool(text.strip()) and set(text.strip()) <= set("-–—"),
    "quotation marks and apostrophes": lambda text: bool(text.strip()) and set(text.strip()) <= set("\"'“”‘’`"),
    "brackets": lambda text: bool(text.strip()) and set(text.strip()) <= set("()[]{}"),
    "currency signs": lambda text: text.strip() in ("$", "€", "£", "¥", "US$", "($"),
    "percent": lambda text: text.strip().lower() in ("%", "percent", "percentage", "per cent"),
    "punctuation": lambda text: bool(text.strip()) and not any(c.isalnum() for c in text),
    "capitalised words": lambda text: bool(re.fullmatch(r"\s[A-Z][a-z]+", text)),
    "words in capitals": lambda text: bool(re.fullmatch(r"\s?[A-Z]{2,}", text)),
    "single capital letters": lambda text: bool(re.fullmatch(r"\s?[A-Z]", text)),
    "inner parts of words": lambda text: bool(re.fullmatch(r"[a-z]+", text)),
    "words in -ing": lambda text: bool(re.fullmatch(r"\s?[A-Za-z]{2,}ing", text)),
    "words in -ed": lambda text: bool(re.fullmatch(r"\s?[A-Za-z]{2,}ed", text)),
    "words in -ly": lambda text: bool(re.fullmatch(r"\s?[A-Za-z]{2,}ly", text)),
    "words in -s": lambda text: bool(re.fullmatch(r"\s[A-Za-z]{3,}[^s\W]s", text)),
    "words in -tion or -ment": lambda text: bool(re.fullmatch(r"\s?[A-Za-z]{2,}(tion|sion|ment)s?", text)),
    "words in -al, -ive or -ic": lambda text: bool(re.fullmatch(r"\s[A-Za-z]{2,}(al|ive|ic|ous)", text)),
    "the start of the text": lambda text: False,
}

START = "the start of the text"
"""The class that holds BOS alone: as a previous token it marks the first token of a window."""


def token_classes(texts: Sequence[str], bos_id: int) -> dict[str, np.ndarray]:
    """Every class's members among a vocabulary's token texts, each (vocabulary,) bool."""
    words = np.array([text.strip().lower() if text[:1] in (" ", "\n") or text[:1].isupper() else "" for text in texts])
    found = {name: np.isin(words, listed.split()) for name, listed in _WORDS.items()}
    found |= {name: np.array([has(text) for text in texts]) for name, has in _FORMS.items()}
    found["function words"] = np.isin(words, list(FUNCTION_WORDS))
    found[START][bos_id] = True
    return found
