"""Tell labels from what tools write where no label came about: parse errors, refusals, placeholders.

Delphi writes "Explanation could not be parsed." and "No explanation found", and an empty text where it explains
nothing. Neuronpedia's jobs write "unclear", and models refuse. A judge scores such a text like any other, and may score
it well.
"""

from __future__ import annotations

import re

# Alone, these name nothing: what a form, a library or an API puts where there is no text.
_PLACEHOLDERS = re.compile(
    r"none|null|nil|nan|n/?a|undefined|error|exception|string|str|text|label|explanation|description|placeholder|todo|tbd"
    r"|unlabell?ed|unknown|unclear|unsure|uninterpretable|empty|missing|failed|failure|timeout|timed out|not available"
    r"|\?+|-+|\.{2,}|…|lorem ipsum.*|redacted|content filtered|too many requests|request too large"
    r"|not interpretable|uninterpretable (?:feature|latent|neuron)|none found"
    r"|(?:explanation|label|description|response) (?:was )?not (?:found|available|provided|generated)"
    r"|no (?:examples|activations) (?:were )?(?:found|given|provided)"
    r"|(?:maximum )?context length (?:exceeded|is \d.*)"
    r"|(?:sure[!,.]? )?here(?: is|'s) (?:the|an?|my|your) (?:explanation|label)"
    r"|(?:n/?a\W+)?(?:not enough|insufficient) (?:information|data|context|examples)"
    r" (?:to|for|provided|available|given)\b.*"
    r"|(?:n/?a\W+)?not enough (?:information|data|context|examples)"
    r"|(?:there is |i (?:have|found) )?no (?:valid |clear )?(?:explanations?|labels?|descriptions?|responses?|answers?"
    r"|interpretations?|outputs?)(?: (?:was |were |is |are |could be )?(?:found|available|generated|provided|given"
    r"|produced|returned|yet))?"
)
_MESSAGES = re.compile(
    r"\b(?:explanations?|responses?|answers?|labels?|outputs?|json|interpretations?|descriptions?)"
    r" (?:could not|couldn't|cannot|can't|can not|failed to) be\b"
    r"|^(?:(?:explanations?|responses?|labels?|outputs?|json) )?(?:pars|generat)(?:ing|ion) failed"
    r"|^(?:failed|unable|could not|couldn't|cannot|can't|not possible) (?:to )?"
    r"(?:parse|generate|explain|interpret|produce|determine|identify|decode|find|provide|label|load|connect)\b"
    r"|^\[?(?:\w+\.)*\w*(?:error|exception)(?: code| \d{3})?\]?\s*(?:[:(=]|- ?\d|$)"
    r"|^error (?:while|when|during|in) (?:pars|generat|call|process|request|fetch)"
    r"|^(?:error )?(?:pars|generat)ing (?:the )?(?:explanation|response|label|output)"
    r"|^traceback \(most recent|^rate limit (?:exceeded|reached)|^(?:http|status)(?: code)?:? ?[45]\d\d\b"
    r"|^think(?:ing)?>|^(?:the )?(?:request|connection|api call) (?:timed out|failed|was (?:blocked|refused))"
)
_PATTERNLESS = re.compile(
    r"^(?:there (?:is|was|appears to be) |i (?:see|found|find) )?no"
    r" (?:clear|discernible|consistent|obvious|apparent|identifiable|recogni[sz]able|coherent|common) patterns?\b"
    r"|^(?:the )?(?:\w+ )?(?:texts?|examples?|excerpts?|activations?|tokens?|latent|feature|neuron)"
    r" (?:do|does) ?n[o']t (?:show|have|reveal|exhibit|share|follow) (?:a|any) (?:\w+ )?pattern\b"
)
_REFUSALS = re.compile(
    r"^(?:i'm|i am) (?:(?:so|very|really) )?sorry(?:$|[.,;:!]| but| for| i | that i)"
    r"|^sorry(?:$|[.!;]|,? (?:but|i|we|the|this|there|that|no|not)\b)"
    r"|^(?:(?:my|i|we) )?apologi(?:[sz]e|es)(?:$|[.,;:!]| but| for)"
    r"|^(?:(?:unfortunately|however),? )?(?:i|we) (?:cannot|can't|can not|could not|couldn't|am unable|am not able"
    r"|do not|don't|did not|didn't|won't|will not)(?: to)? (?:\w+ly )?(?:assist|help|provide|determine|generate"
    r"|identify|explain|see|find|comply|fulfill|answer|access|analy[sz]e|continue|complete|interpret|discern|have|label|describe"
    r"|offer|give|engage|fully)\b"
    r"|^i'm (?:unable|not able) to\b"
    r"|^(?:as|i'm|i am) an? (?:ai|artificial intelligence|(?:large )?language model)\b"
)


def is_failure(text: str) -> bool:
    """Whether a text says that there is no label, instead of being one.

    An empty text is a failure. Labels about such messages are none: "error messages in logs", "apologies".
    """
    plain = " ".join(text.replace("’", "'").replace("‘", "'").casefold().split()).strip(" \"'`*[]<>{}()")
    return not plain or bool(
        _PLACEHOLDERS.fullmatch(plain.rstrip(".!:") or plain)
        or any(pattern.search(plain) for pattern in (_MESSAGES, _PATTERNLESS, _REFUSALS))
    )
