"""The page read by axe-core, the checker that browsers' accessibility tools are made of, and looked at for overlaps."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.page import served as serve_page
from feature_tracker.bundles.bundle import BUILT_IN
from feature_tracker.corpus.origin import fingerprint
from feature_tracker.labels.table import latents_of
from feature_tracker.model.load import LanguageModel
from feature_tracker.page.documents.view import TITLES as DOCUMENT_TITLES
from feature_tracker.page.results import TITLES
from feature_tracker.sae.topk import Sae
from tests.archive.made import write_archive
from tests.support import SENTENCES

pytestmark = [pytest.mark.browser, pytest.mark.model, pytest.mark.slow]

_VIOLATIONS = """async () => {
  const found = await axe.run(document, { resultTypes: ['violations'] });
  return found.violations.filter((v) => ['serious', 'critical'].includes(v.impact))
    .map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 100)).join(' ')}`);
}"""
_CUT_OR_OVERLAPPING = """() => {
  const faults = [];
  if (document.documentElement.scrollWidth > window.innerWidth) faults.push('the page scrolls sideways');
  const cards = [...document.querySelectorAll('[class*=st-key-theme_]')]
    .map((e) => e.parentElement.getBoundingClientRect());
  cards.forEach((a, i) => cards.slice(i + 1).forEach((b) => {
    if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
      faults.push('two themes overlap');
  }));
  for (const svg of document.querySelectorAll('.js-plotly-plot .main-svg')) {
    const box = svg.getBoundingClientRect();
    for (const label of svg.querySelectorAll('.ytick text, .xtick text, .gtitle, .xtitle, .ytitle')) {
      const inside = label.getBoundingClientRect();
      if (inside.width && (inside.left < box.left - 2 || inside.right > box.right + 2))
        faults.push(`cut: ${label.textContent}`);
    }
  }
  return faults;
}"""


def open_analysis(tab: Any, served: str) -> None:
    tab.goto(served)
    tab.get_by_label("Text to analyze").fill(SENTENCES)
    tab.get_by_role("button", name="Analyze").click()
    tab.locator(".js-plotly-plot").first.wait_for(timeout=120_000)


def open_view(tab: Any, title: str) -> None:
    tab.get_by_role("tab", name=title, exact=True).click()
    panel = tab.locator("[role=tabpanel]:visible")
    shown = (
        "button"
        if title in ("Circuit", "Compare", "Steer", "What sets them apart")
        else ".js-plotly-plot .main-svg, .stDataFrame canvas"
    )
    panel.locator(shown).first.wait_for(timeout=30_000, state="attached")
    tab.wait_for_timeout(500)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_has_a_serious_fault_of_accessibility(served: str, tab: Any, scheme: str) -> None:
    axe = importlib.util.find_spec("axe_playwright_python")
    if axe is None or axe.origin is None:
        pytest.skip("axe-playwright-python is not installed; requirements-dev.txt brings it")
    tab.emulate_media(color_scheme=scheme)
    open_analysis(tab, served)
    tab.evaluate(Path(axe.origin).with_name("axe.min.js").read_text(encoding="utf-8"))
    for title in TITLES:
        open_view(tab, title)
        assert tab.evaluate(_VIOLATIONS) == [], title


@pytest.mark.parametrize("width", [800, 1440])
def test_nothing_is_cut_or_overlaps(served: str, tab: Any, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 1000})
    open_analysis(tab, served)
    first_screen = tab.locator("[class*=st-key-theme_]")
    seen = sum(first_screen.nth(i).bounding_box()["y"] < 1000 for i in range(first_screen.count()))
    assert seen >= (2 if width == 800 else 4)
    if width == 1440:
        assert tab.locator(".words").bounding_box()["y"] < 1000
    for title in TITLES:
        open_view(tab, title)
        assert tab.evaluate(_CUT_OR_OVERLAPPING) == [], title


@pytest.fixture
def served_documents(
    builtin_model: LanguageModel, builtin_saes: dict[int, Sae], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Address of the real page, with an archive that was made up for the built-in bundle's features."""
    archive = write_archive(tmp_path / "filings", n_latents=latents_of(builtin_saes), tokens=(100, 200))
    manifest = replace(archive.manifest, bundle=BUILT_IN, fingerprint=fingerprint(builtin_saes))
    manifest.save(archive.folder)
    monkeypatch.setenv("FEATURE_TRACKER_ARCHIVES", str(tmp_path))
    with serve_page() as (address, _):
        yield address


def open_documents(tab: Any, served: str) -> None:
    tab.goto(f"{served}/?look_at=Many+documents")
    tab.locator(".stDataFrame canvas").first.wait_for(state="attached", timeout=120_000)
    box = tab.locator(".stDataFrame").first.bounding_box()
    tab.mouse.click(box["x"] + 22, box["y"] + 52)  # the first document's row
    tab.get_by_role("button", name="Analyze this document").wait_for(timeout=30_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_of_many_documents_has_a_serious_fault_of_accessibility(
    served_documents: str, tab: Any, scheme: str
) -> None:
    axe = importlib.util.find_spec("axe_playwright_python")
    if axe is None or axe.origin is None:
        pytest.skip("axe-playwright-python is not installed; requirements-dev.txt brings it")
    tab.emulate_media(color_scheme=scheme)
    open_documents(tab, served_documents)
    tab.evaluate(Path(axe.origin).with_name("axe.min.js").read_text(encoding="utf-8"))
    for title in DOCUMENT_TITLES:
        open_view(tab, title)
        assert tab.evaluate(_VIOLATIONS) == [], title


@pytest.mark.parametrize("width", [800, 1440])
def test_nothing_of_many_documents_is_cut_or_overlaps(served_documents: str, tab: Any, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 1000})
    open_documents(tab, served_documents)
    for title in DOCUMENT_TITLES:
        open_view(tab, title)
        assert tab.evaluate(_CUT_OR_OVERLAPPING) == [], title
