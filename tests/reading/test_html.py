from __future__ import annotations

import time

import pytest

from feature_tracker.reading.html import read_html

FILING = """<?xml version='1.0' encoding='ASCII'?>
<html xmlns:ix="http://www.xbrl.org/2013/inlineXBRL"><head><title>acme-20241231</title>
<style>p { color: red }</style><script>if (a < b) { alert("</p>") }</script></head>
<body><div style="display: none"><ix:header><ix:hidden><ix:nonNumeric name="dei:Cik">0000012345</ix:nonNumeric>
</ix:hidden><ix:references/></ix:header></div>
<div><span>Item 7.&#160;Management&#8217;s Discussion</span></div>
<div><p>Net sales rose <b>5.4</b>% to $<ix:nonFraction name="us-gaap:Revenues">1,234</ix:nonFraction> million,
and margin
widened.<br/>A new line.</p></div>
<div><table><tr><td colspan="3">Net sales</td><td></td><td><div>$</div></td><td><div>1,234</div></td><td></td></tr>
<tr><td>Net loss</td><td>&nbsp;</td><td>(56</td><td>)</td><td>(5.4</td><td>)%</td></tr></table></div>
<ul><li>One</li><li>Two</li></ul><p hidden>Nobody sees this.</p></body></html>
"""


def test_a_filing_reads_as_a_browser_shows_it() -> None:
    document = read_html(FILING)
    assert document.text == (
        "Item 7. Management’s Discussion\n\n"
        "Net sales rose 5.4% to $1,234 million, and margin widened.\nA new line.\n\n"
        "Net sales\t$1,234\nNet loss\t(56)\t(5.4)%\n\n"
        "One\nTwo"
    )
    assert document.notes == ("The filing's hidden XBRL data was left out.",)


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("no tags at all", "no tags at all"),
        ("<p>a<p>b", "a\n\nb"),
        ("<div>a</div><div>b</div>", "a\n\nb"),
        ("a<br>b<br><br>c<br><br><br><br>d", "a\nb\n\nc\n\nd"),
        ("<h1>a</h1>b<h2>c</h2>", "a\n\nb\n\nc"),
        ("a <b> b </b> c<i>d</i>", "a b cd"),
        ("<pre>a  b\n  c</pre>d", "a  b\n  c\n\nd"),
        ("a &lt; b &amp; c &euro; &#8217; &#x2014; AT&T", "a < b & c € ’ — AT&T"),
        ("a < b and <5% of c", "a < b and <5% of c"),
        ("x<!-- hidden -->y", "xy"),
        ("<script>x</script><style>y</style><noscript>z</noscript>seen", "seen"),
        ("<span style='color:red;DISPLAY : NONE'>x</span>seen", "seen"),
        ("<ix:header/>seen", "seen"),
        ("<head><title>x</title><meta name=a><link href=b></head>seen", "seen"),
        ("<select><option>a<option>b</select>c", "a\nb\nc"),
    ],
)
def test_blocks_end_lines_and_white_space_only_separates(page: str, text: str) -> None:
    assert read_html(page).text == text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<tr><td>a<td>b<tr><td>c<td>d", "a\tb\nc\td"),
        ("<tr><th>a</th><td><p>b</p><p>c</p></td></tr>", "a\tb c"),
        ("<tr><td></td><td>a</td><td> </td></tr>", "a"),
        ("<tr><td><p>one</p><p>two</p></td></tr>", "one\n\ntwo"),
        ("<tr><td>US$</td><td>5</td><td>£</td><td>(6</td><td>)</td><td>(</td><td>7)</td></tr>", "US$5\t£(6)\t(7)"),
        ("<tr><td>5</td><td>%</td><td>$</td><td>—</td><td>A</td><td>1</td></tr>", "5%\t$—\tA\t1"),
        ("<caption>Sales</caption><tr><td>a</td><td>b</td></tr>", "Sales\na\tb"),
        ("loose<tr>text<td>a</td></tr>tail", "loose\ntext\ta\ntail"),
    ],
)
def test_a_row_of_a_table_is_a_line(page: str, text: str) -> None:
    assert read_html(f"<table>{page}</table>").text == text


def test_a_table_that_arranges_the_page_keeps_the_lines_of_those_in_it() -> None:
    inner = "<table><tr><td>a</td><td>1</td></tr><tr><td>b</td><td>2</td></tr></table>"
    page = f"<table><tr><td>Left{inner}</td><td>Right<br>side</td></tr></table>"
    assert read_html(page).text == "Left\n\na\t1\nb\t2\nRight\nside"


def test_cells_outside_rows_and_tables_lose_nothing() -> None:
    assert read_html("<td>a</td><td>b</td></tr><tr>c<td>d").text == "a\nb\nc\td"


@pytest.mark.parametrize(
    "page",
    [
        "<div>" * 20_000 + "text",
        "<table><tr><td>" * 20_000 + "text",
        "<b>" * 50_000 + "text",
        "text<!--" + "x <!-- " * 2_000_000,  # 14 MB, which libxml2 by itself reads without end
        "<p " + "a=b " * 200_000 + ">text",
    ],
    ids=["blocks", "tables", "inline", "comment", "attributes"],
)
def test_a_hostile_page_takes_seconds(page: str) -> None:
    start = time.perf_counter()
    assert read_html(page).text == "text"
    assert time.perf_counter() - start < 5


def test_a_page_is_read_across_the_pieces_that_it_is_fed_in() -> None:
    words = [f"größe{number}" for number in range(60_000)]
    assert read_html("<p>" + " ".join(f"<b>{word}</b>" for word in words)).text.split() == words


def test_half_a_character_is_replaced() -> None:
    assert read_html("<p>a\ud83d b").text == "a? b"
