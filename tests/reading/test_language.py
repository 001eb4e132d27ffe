from __future__ import annotations

import pytest

from feature_tracker.page.samples import SAMPLES
from feature_tracker.reading import language_note

OTHERS = {
    "german": "Die Erträge stiegen im dritten Quartal um 5 Prozent; die Kosten fielen. Das Geschäft mit Privatkunden "
    "wuchs kräftig, was an den Zinsen lag. So war der Gewinn im Jahr am höchsten.",
    "dutch": "De omzet is in het derde kwartaal met 5 procent gestegen. We verwachten dat de kosten over het jaar "
    "dalen en dat de winst hoger is dan vorig jaar. Er was meer vraag naar leningen.",
    "french": "Le chiffre d'affaires a augmenté de 5 % au troisième trimestre grâce à l'activité des particuliers. On "
    "a vu une hausse des marges; les coûts ont baissé et le résultat net est de 3 millions.",
    "spanish": "Las ventas netas aumentaron un 5 % en el tercer trimestre; la compañía espera más crecimiento "
    "el próximo año. No se prevé un cambio a la política de dividendos.",
    "portuguese": "A receita líquida aumentou 5% no terceiro trimestre; as despesas caíram e o lucro foi de 3 milhões. "
    "As ações da companhia subiram no dia, e o banco central manteve a taxa.",
    "italian": "I ricavi netti sono aumentati del 5% nel terzo trimestre; la società prevede una crescita anche a fine "
    "anno. I costi del lavoro e gli oneri non sono in calo.",
    "danish": "Omsætningen steg med 5 procent i tredje kvartal. Vi kan se at omkostninger har været lavere, og at "
    "resultatet er over det forventede. Den samlede gæld var for høj i juni.",
    "russian": "Выручка выросла на 5% в третьем квартале, а расходы на оплату труда снизились. Компания ожидает роста "
    "в будущем году и планирует выплатить дивиденды акционерам в мае и в июне.",
}
HEADLINES = (
    "Fed holds rates steady. Oil slips on supply worries. Apple shares climb after earnings beat. Treasury "
    "yields fall. Dollar weakens against euro, yen. Gold hits record high. Banks rally on stress test results."
)


@pytest.mark.parametrize("text", [*SAMPLES.values(), HEADLINES], ids=[*SAMPLES, "headlines"])
def test_english_needs_no_note(text: str) -> None:
    assert language_note(text) == ""


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_another_language_gets_a_note(text: str) -> None:
    assert "doesn't look like English" in language_note(text)
    assert "made from English finance and general text" in language_note(text)


@pytest.mark.parametrize("text", ["", "rates", "The rates and the yields " * 3, "1,234 " * 100])
def test_a_text_of_few_words_gets_a_note(text: str) -> None:
    assert "fewer than 20 words" in language_note(text)
    assert "made from English finance and general text" in language_note(text)


def test_twenty_words_are_enough() -> None:
    assert language_note("the yields and then " * 5) == ""


def test_typographic_apostrophes_are_apostrophes() -> None:
    assert language_note("it’s rates don’t " * 10) == ""
