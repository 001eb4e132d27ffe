from __future__ import annotations

import time

import pytest

from feature_tracker.reading import has_tags, strip_tags

NO_TAGS = [
    "",
    "Net sales rose.",
    "a < b > c",
    "if a<b and c>d",
    "x<b>c",
    "<5% of sales, >10% of cost",
    "p < 0.05",
    "<p and q> are unknown",
    "Investor relations <ir@example.com>",
    "see <http://example.com/a?b=c>",
    "<Name>, <Title of officer>",
    "<-- see there -->",
    "a <!-- never closed",
    "->",
    "<",
    "<script",
]
WITH_TAGS = [
    ("<b>Net</b> sales", "Net sales"),
    ("<p>Net sales</p><p>rose</p>", "Net sales\n\nrose"),
    ("one<br>two<BR/>three", "one\ntwo\nthree"),
    ("<a href='x>y' target=_blank>link</a>", "link"),
    ('<span style="color: red">5 < 6</span>', "5 < 6"),
    ("<i>a < b > c</i>, <5% and <ir@example.com>", "a < b > c, <5% and <ir@example.com>"),
    ("<b>line one</b>\nline  two\n\nline three", "line one\nline  two\n\nline three"),
    ("<p>line one\nline two</p>", "line one line two"),
    ("<table><tr><td>Sales</td><td>$</td><td>5</td></tr></table>", "Sales\t$5"),
    ("<PAGE>\n<TABLE>\n<S>    <C>\nSales  5\n</TABLE>", "Sales  5"),
    ("<ix:nonFraction name='us-gaap:Revenues'>1,234</ix:nonFraction> million", "1,234 million"),
    ("<!DOCTYPE html><!-- comment -->text", "text"),
    ("<?xml version='1.0'?>text", "text"),
    ("AT&amp;T <em>and</em> AT&T", "AT&T and AT&T"),
    ("<script>alert(1)</script>Net <style>p{}</style>sales", "Net sales"),
    ("<em>a</em> <script>never closed", "a <script>never closed"),
    ("<em>a</em> <!-- never closed", "a <!-- never closed"),
    ("<p hidden>no</p><p>yes</p>", "yes"),
    ("<em>nul\0</em>", "nul"),
]


@pytest.mark.parametrize("text", NO_TAGS)
def test_other_signs_are_no_tags(text: str) -> None:
    assert not has_tags(text)
    assert strip_tags(text) == text


@pytest.mark.parametrize(("text", "stripped"), WITH_TAGS)
def test_tags_are_recognized_and_removed(text: str, stripped: str) -> None:
    assert has_tags(text)
    assert strip_tags(text) == stripped


@pytest.mark.parametrize(("text", "stripped"), WITH_TAGS)
def test_nothing_is_left_to_remove(text: str, stripped: str) -> None:
    assert not has_tags(stripped)


@pytest.mark.parametrize(
    "unit", ["<", "<b", "<!--", "<p a='", '<p a="', "<p a=", "<p a ", "<a:", "<a-", "< ", "<p/", "</", "&lt;b&gt;<p>"]
)
def test_the_time_is_linear_in_the_text(unit: str) -> None:
    start = time.perf_counter()
    strip_tags(unit * 200_000)
    assert time.perf_counter() - start < 10
