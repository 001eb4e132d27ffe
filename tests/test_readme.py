"""README and docs are short, and their commands, options, links, dependencies and Python code exist and work."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from feature_tracker.cli import main
from feature_tracker.model.load import LanguageModel
from tests.support import ROOT

README = ROOT / "README.md"
PAGES = sorted(page for pattern in ("*.md", "docs/*.md", "labels/*.md", "sae/*.md") for page in ROOT.glob(pattern))

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def outside_fences(text: str) -> str:
    """Markdown without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def table_rows(text: str) -> list[list[str]]:
    """The cells of every table's rows, headers and rules among them."""
    lines = [line.strip() for line in outside_fences(text).splitlines()]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("|")]


def commands_in(text: str) -> list[list[str]]:
    """The words behind `feature-tracker` wherever it stands in a code span or begins a line of code."""
    spans = re.findall(r"`feature-tracker ([^`]+)`", outside_fences(text))
    blocks = "\n".join(re.findall(r"^```.*?$(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    lines = re.findall(r"^feature-tracker (.+)$", blocks, re.MULTILINE)
    return [shlex.split(command, comments=True) for command in spans + lines]


def leaves(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """The words of every command that is no group."""
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from leaves(child, *path, name)


def resolve(words: list[str]) -> tuple[str, ...]:
    """The command that words call, after checking that it and its options exist."""
    command: click.Command = main
    path: list[str] = []
    while isinstance(command, click.Group) and len(words) > len(path) and words[len(path)][0] not in "-…":
        name = words[len(path)]
        child = command.get_command(click.Context(command), name)
        assert child is not None, f"there is no command {' '.join([*path, name])}"
        command, path = child, [*path, name]
    options = {option for parameter in command.get_params(click.Context(command)) for option in parameter.opts}
    unknown = {word for word in words if word.startswith("--")} - options
    assert not unknown, f"{' '.join(path)} has no {', '.join(sorted(unknown))}"
    return tuple(path)


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", outside_fences(page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_short() -> None:
    lines = README.read_text("utf-8").splitlines()
    assert len(lines) <= 200
    assert [line for line in lines if len(line) > 100] == []


@pages
def test_no_table_cell_is_a_paragraph(page: Path) -> None:
    assert [cell for row in table_rows(page.read_text("utf-8")) for cell in row if len(cell) > 120] == []


@pages
def test_links_within_the_repository_resolve(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", outside_fences(page.read_text("utf-8")))
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in headings(target), link


@pages
def test_commands_and_options_exist(page: Path) -> None:
    for words in commands_in(page.read_text("utf-8")):
        resolve(words)


def test_the_readmes_table_names_every_command_once() -> None:
    rows = [words for cell, *_ in table_rows(README.read_text("utf-8")) for words in commands_in(cell)]
    assert sorted(map(resolve, rows)) == sorted(leaves(main))


def test_the_readme_says_why_each_dependency_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    requirements = sum(project["optional-dependencies"].values(), project["dependencies"])
    declared = {re.split(r"[\[<>=~!; ]", requirement)[0] for requirement in requirements} - {project["name"]}
    _, dependencies = README.read_text("utf-8").split("\n## Dependencies\n")
    assert {name for name in declared if not re.search(rf"(?<![\w-]){name}(?![\w-])", dependencies)} == set()


@pytest.mark.model
def test_the_readmes_python_runs(builtin_model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python$(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile("".join(blocks), README.name, "exec"), {})
    assert (tmp_path / "results" / "figure.html").exists()


def test_every_test_that_the_security_page_names_exists() -> None:
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    named, file = set(), ""
    for path, name in re.findall(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`", page):
        file = path or file  # `::name` is in the file named before
        named.add((file, name))
    assert len(named) > 15
    for file, name in named:
        assert not name or f"def {name}(" in (ROOT / file).read_text("utf-8"), f"{file}::{name}"
