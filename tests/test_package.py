"""The package as it is built, installed and started: its files, its requirements, its commands, its surroundings."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

from feature_tracker import __version__
from feature_tracker.cli import main
from tests.support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGED = PROJECT["tool"]["hatch"]["build"]["hooks"]["custom"]["paths"]
MODULES = sorted((ROOT / "feature_tracker").rglob("*.py"))


def run(*command: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], cwd=cwd, env=environment or None, capture_output=True, text=True)


def tracked(root: Path, *paths: str) -> set[str]:
    listed = run("git", "-C", root, "ls-files", "--", *paths)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return set(listed.stdout.splitlines())


def files_in(wheel: Path) -> set[str]:
    """A wheel's files but its metadata, by the path that each has in the tree."""
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    for source, packaged in PACKAGED.items():
        files = {source + name.removeprefix(packaged) if name.startswith(packaged) else name for name in files}
    return files


def hatch(tree: Path, target: str) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", tree / "out", cwd=tree).check_returncode()
    return next((tree / "out").glob("*.whl" if target == "wheel" else "*.tar.gz"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository of its own with the files of this one that are built, and junk that nobody added."""
    tree = tmp_path / "tree"
    for file in tracked(ROOT, "pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore", *PACKAGED):
        (tree / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tree / file)
    run("git", "init", "-q", cwd=tree).check_returncode()
    run("git", "add", "-A", cwd=tree).check_returncode()
    for junk in (
        "feature_tracker/scratch.py", "feature_tracker/bundles/mine.toml", "feature_tracker/__pycache__/a.pyc",
        "feature_tracker/data/old.csv", "sae/smollm2-135m/layers.4/sae.safetensors.new", "sae/other/cfg.json",
        "labels/mine.csv", "labels/smollm2-135m.csv.new", "work/train/resid.bin", "build/lib/feature_tracker/old.py",
        ".streamlit/secrets.toml",
    ):  # fmt: skip
        (tree / junk).parent.mkdir(parents=True, exist_ok=True)
        (tree / junk).write_text("junk")
    return tree


def test_a_wheel_from_a_dirty_tree_holds_what_git_tracks(tree: Path) -> None:
    assert files_in(hatch(tree, "wheel")) == tracked(tree, *PACKAGED)


@pytest.mark.slow
def test_an_sdist_gives_the_same_wheel_without_git(tree: Path, tmp_path: Path) -> None:
    run("tar", "-xf", hatch(tree, "sdist"), "-C", tmp_path)  # `tarfile` needs `filter`, which 3.11.2 doesn't have
    (unpacked,) = tmp_path.glob("feature_activation_tracker-*")
    assert files_in(hatch(unpacked, "wheel")) == tracked(tree, *PACKAGED)


def test_the_wheel_carries_types_weights_tables_bundles_and_page(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {
        "feature_tracker/py.typed",
        "feature_tracker/bundles/llama2-7b-finance.toml",
        "feature_tracker/data/sae/smollm2-135m/layers.28/sae.safetensors",
        "feature_tracker/data/labels/smollm2-135m.csv",
        "feature_tracker/data/feature_activation_tracker.py",
        "feature_tracker/data/.streamlit/config.toml",
    } <= set(names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"feature_tracker"}


def test_every_distribution_that_is_imported_is_required() -> None:
    named = importlib.metadata.packages_distributions()
    imported: set[str] = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.split(".")[0])
    outside = imported - sys.stdlib_module_names - {"feature_tracker"}
    needed = {canonicalize_name(named[name][0]) for name in outside}
    optional = PROJECT["project"]["optional-dependencies"]
    requirements = [*PROJECT["project"]["dependencies"], *optional["corpus"], *optional["label"], *optional["search"]]
    required = {canonicalize_name(Requirement(line).name) for line in requirements}
    assert needed <= required, f"add to pyproject.toml: {needed - required}"
    # transformers imports these two: to spread a model over devices, and to read the built-in one.
    assert required - needed == {"accelerate", "gguf"}, f"take out of pyproject.toml: {required - needed}"


def pins(name: str) -> dict[str, str]:
    """Release by distribution of a requirements file, every line of which must pin one."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    pinned = {}
    for line in lines:
        requirement = Requirement(line)
        (only,) = requirement.specifier
        assert only.operator == "==" and "+" not in only.version, line
        pinned[canonicalize_name(requirement.name)] = only.version
    return pinned


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("requirements.txt", ["test"]),
        ("requirements-dev.txt", ["test", "dev"]),
        ("requirements-peers.txt", ["test", "dev", "peers"]),
    ],
)
def test_requirements_pin_what_pyproject_asks_for(name: str, extras: list[str]) -> None:
    asked = [*PROJECT["project"]["dependencies"]]
    for extra in extras:
        asked += PROJECT["project"]["optional-dependencies"][extra]
    pinned = pins(name)
    for requirement in map(Requirement, asked):
        if requirement.name != PROJECT["project"]["name"]:
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), str(requirement)
    assert pins("requirements.txt").items() <= pinned.items()


def test_importing_the_package_loads_no_large_library() -> None:
    script = (
        "import sys, feature_tracker; print(*{'torch', 'transformers', 'streamlit', 'pandas'} & sys.modules.keys())"
    )
    assert run(sys.executable, "-c", script).stdout.split() == []


def undocumented(path: Path) -> Iterator[str]:
    """Public classes, functions and methods of a module, and the module itself, that have no docstring."""
    where = path.relative_to(ROOT)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not ast.get_docstring(tree):
        yield str(where)
    bodies: list[ast.Module | ast.ClassDef] = [tree]
    while bodies:
        for node in bodies.pop().body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                if not ast.get_docstring(node):
                    yield f"{where}:{node.lineno} {node.name}"
                if isinstance(node, ast.ClassDef):
                    bodies.append(node)


def test_every_public_name_has_a_docstring() -> None:
    assert [name for path in MODULES for name in undocumented(path)] == []


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """A command and all below it, each with its path."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, (*path, name))


def test_every_command_and_option_explains_itself() -> None:
    every = dict(commands(main))
    assert ("labels", "import") in every
    for path, command in every.items():
        told = CliRunner().invoke(main, [*path, "--help"])
        assert told.exit_code == 0, path
        assert command.help, path
        assert [option.name for option in command.params if isinstance(option, click.Option) and not option.help] == []


def test_the_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"feature-tracker, version {__version__}\n"


def old_python() -> str:
    for python in [shutil.which("python3.10"), *Path.home().glob(".pyenv/versions/3.10.*/bin/python")]:
        if python and run(python, "--version").stdout.startswith("Python 3.10."):
            return str(python)
    pytest.skip("no Python 3.10 on this machine")


@pytest.mark.parametrize(
    "arguments",
    [["-m", "feature_tracker", "--version"], ["-c", "import feature_tracker.tracker"], ["circuit_tracer.py", "a text"],
     ["feature_activation_tracker.py"]],
)  # fmt: skip
def test_an_old_python_ends_with_a_sentence(arguments: list[str]) -> None:
    ended = run(old_python(), *arguments)
    assert ended.returncode == 1
    assert ended.stderr == "Python 3.11 or newer is needed; this is Python 3.10.\n"


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_the_page_refuses_a_port_that_is_taken(address: str) -> None:
    try:
        taken = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    except OSError as error:
        pytest.skip(f"no {address} on this machine: {error}")
    with taken:
        port = taken.getsockname()[1]
        ended = CliRunner().invoke(main, ["page", "--no-browser", "--port", str(port)])
    assert ended.exit_code == 1
    assert ended.output.startswith(f"Error: Port {port} of ")
    assert "can't be used (Address already in use)." in ended.output
    assert "--port" in ended.output


@pytest.mark.slow
def test_a_decoy_in_the_working_folder_is_not_imported_by_the_command(installed: Path, decoys: Path) -> None:
    checked = run(installed, "labels", "check", cwd=decoys)
    assert checked.returncode == 0, checked.stderr
    assert str(installed.parent.parent) in checked.stdout.splitlines()[0]  # its own table, not the checkout's


@pytest.mark.slow
def test_the_command_works_in_a_folder_that_cannot_be_written(installed: Path, tmp_path: Path) -> None:
    # A user namespace lets anybody mount a folder that even root can't write.
    script = 'mount -t tmpfs -o ro tmpfs "$0"; cd "$0"; ! touch a 2>&-; "$1" labels check'
    in_namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    if shutil.which("unshare") is None or run(*in_namespace, 'mount -t tmpfs tmpfs "$0"', tmp_path).returncode:
        pytest.skip("no unprivileged mounts here")
    checked = run(*in_namespace, script, tmp_path, installed)
    assert checked.returncode == 0, checked.stderr
    assert "No contradictions" in checked.stdout


@pytest.mark.model
@pytest.mark.slow
def test_the_wheel_traces_a_text_from_any_folder(installed: Path, builtin_model: object, decoys: Path) -> None:
    traced = run(installed, "trace", "Net sales rose 5.4%.", cwd=decoys)
    assert traced.returncode == 0, traced.stderr
    assert traced.stdout.startswith("layer,feature,label,")
    assert len(traced.stdout.splitlines()) == 51


def first_messages(port: int) -> list[ForwardMsg]:
    """What the page sends a browser that opens it, up to the end of its script."""
    asked = BackMsg()
    asked.rerun_script.SetInParent()
    for _ in range(100):
        try:
            with connect(f"ws://localhost:{port}/_stcore/stream", max_size=None) as connection:
                connection.send(asked.SerializeToString())
                sent = [ForwardMsg.FromString(connection.recv(timeout=60, decode=False))]
                while not sent[-1].HasField("script_finished"):
                    sent.append(ForwardMsg.FromString(connection.recv(timeout=60, decode=False)))
                return sent
        except ConnectionRefusedError:
            time.sleep(0.2)
    raise TimeoutError(f"nothing listens on port {port}")


@pytest.mark.model
@pytest.mark.slow
def test_a_decoy_in_the_working_folder_is_not_imported_by_the_page(
    installed: Path, builtin_model: object, decoys: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [installed, "page", "--no-browser", "--port", str(port)]
    # A group of its own, because the command waits for a child that serves the page.
    with subprocess.Popen(command, cwd=decoys, start_new_session=True) as page:
        try:
            drawn = [message.delta.new_element for message in first_messages(port) if message.HasField("delta")]
        finally:
            os.killpg(page.pid, signal.SIGINT)
    assert "Feature Activation Tracker" in [element.heading.body for element in drawn]
    assert not [element for element in drawn if element.HasField("exception")]


def test_no_expression_has_a_possessive_group() -> None:
    """Before 3.11.5, which Debian 12 doesn't have, Python matches one wrongly; an atomic group is the same."""
    possessive = re.compile(r"\)(?:[*+?]|\{\d*,?\d*\})\+")
    assert possessive.search(r"(?:ab)*+")
    assert [path.name for path in MODULES if possessive.search(path.read_text(encoding="utf-8"))] == []
