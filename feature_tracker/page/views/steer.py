"""View: what the model writes when features are turned up or down."""

from __future__ import annotations

from weakref import ref

import streamlit as st

from feature_tracker.charts.steering import plot_sweep
from feature_tracker.charts.theme import shorten
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.table import LabelTable
from feature_tracker.page import state
from feature_tracker.page.clicks import show_chart
from feature_tracker.page.components.download import offer_download
from feature_tracker.page.errors import plain, shown_errors
from feature_tracker.page.feature_card import show_feature_button
from feature_tracker.page.pool import evicted_error
from feature_tracker.page.state import Scene
from feature_tracker.page.steer_run import TITLES, SessionSteering, SteerRequest, shown_text, write
from feature_tracker.page.tables import show_table
from feature_tracker.steering.generate import HOTTEST, LARGEST_SEED, MOST_TOKENS, Sampling, surprise_in_words
from feature_tracker.steering.recipe import STRONGEST, Recipe, parse_feature
from feature_tracker.text import sentence_spans
from feature_tracker.tracing.rows import features_of, rows_of

_PROMPT, _WORDS, _ONLY_WHERE = "steer_prompt", "steer_words", "steer_only_where"
_TOKENS, _TEMPERATURE, _SEED = "steer_tokens", "steer_temperature", "steer_seed"
_OTHERS = ("steer_second", "steer_third")
_STRENGTHS = ("steer_strength_1", "steer_strength_2", "steer_strength_3")
KEYS = (_PROMPT, _WORDS, _ONLY_WHERE, _TOKENS, _TEMPERATURE, _SEED, *_OTHERS, *_STRENGTHS)
"""Of the widgets whose values last while another tab is open."""
_DEFAULT_PROMPT = "steer_default_prompt"
_FILE, _FILE_ERROR = "steer_recipe", "steer_recipe_error"
_FEATURES_SHOWN = 8
_HALF_WIDTH = 512  # pixels; fits twice side by side on a laptop's screen


def show(scene: Scene) -> None:
    """Draw the view."""
    st.caption(
        "Steering adds a feature's direction to what the model computes, on every word but the start, and lets the "
        "model go on writing. It shows what a direction does, not what the model believes. A small model writes poor "
        "text, steered or not, and strengths above 1 soon make it repeat itself. It is given plain text, no chat."
    )
    prompt = _read_prompt(scene)
    recipe = _read_recipe(scene)
    sampling = _read_sampling()
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button("Steer", type="primary", icon=":material/tune:", key="steer_run", disabled=recipe is None)
        _offer_files(scene, recipe)
    if st.session_state.get(_FILE_ERROR):
        st.error(plain(st.session_state[_FILE_ERROR]), icon=":material/error:")
    request = None if recipe is None else SteerRequest(prompt, recipe, sampling)
    place = st.empty()  # drawn in every run, so that what is written there goes when the next run begins
    if pressed and request is not None:
        with shown_errors("steering"):
            write(scene.tracker, request, place)
    session: SessionSteering | None = st.session_state.get(state.STEERING)
    if session is None:
        return
    if session.request != request:
        st.info("Prompt or settings have changed. What is below was written before; press Steer to write anew.")
    with shown_errors("measuring what was written"):
        _show_written(session, scene)
    with shown_errors("measuring next words"):
        _show_sweep(session, scene)


def _read_prompt(scene: Scene) -> str:
    text = scene.analysis.trace.tokens.text
    first = text[slice(*sentence_spans(text)[0])]
    if st.session_state.get(_PROMPT) == st.session_state.get(_DEFAULT_PROMPT):  # the reader hasn't changed it
        st.session_state[_PROMPT] = first
    st.session_state[_DEFAULT_PROMPT] = first
    return st.text_area("Prompt, which the model goes on with", key=_PROMPT, height=80)


def _read_recipe(scene: Scene) -> Recipe | None:
    """Draw the controls of what is steered; `None`, with a sentence, where it can't be."""
    labels = scene.tracker.labels
    features = features_of(scene.ranked)
    columns = st.columns(3, gap="medium", vertical_alignment="bottom")
    named: list[str | None] = [str(scene.feature)]
    with columns[0]:
        st.markdown(f"**{scene.feature}**: {plain(shorten(labels.name(scene.feature), 80))}")
    for column, key, label in zip(columns[1:], _OTHERS, ("And a second feature", "And a third"), strict=True):
        named.append(
            column.selectbox(
                label,
                _options(features, labels, key),
                index=None,
                placeholder="none",
                accept_new_options=True,
                key=key,
                help="Offered are features that stand out in your text; any other can be typed, such as L4/F7.",
            )
        )
    for column, key, start in zip(columns, _STRENGTHS, (1.0, 0.5, 0.5), strict=True):
        st.session_state.setdefault(key, start)
        column.slider(
            "Strength",
            -STRONGEST,
            STRONGEST,
            step=0.25,
            key=key,
            help="1 adds as much of the feature as its strongest firing in a large body of text; 0 adds nothing, and "
            "less than 0 takes the direction away.",
        )
    condition = st.selectbox(
        "Only where this feature fires",
        _options([feature for feature in features if feature.layer <= scene.feature.layer], labels, _ONLY_WHERE),
        index=None,
        placeholder="everywhere",
        accept_new_options=True,
        key=_ONLY_WHERE,
        help="A feature of the steered layer or a lower one.",
    )
    try:
        chosen = [(_named(name), st.session_state[key]) for name, key in zip(named, _STRENGTHS, strict=True) if name]
        return scene.tracker.recipe(chosen, only_where=_named(condition) if condition else None)
    except TrackerError as error:
        st.info(plain(str(error)))
        return None


def _options(features: list[Feature], labels: LabelTable, key: str) -> list[str]:
    """Features with their labels, and what was typed into the box or loaded from a recipe."""
    options = [f"{feature} · {shorten(labels.name(feature), 60)}" for feature in features]
    current = st.session_state.get(key)
    return options if current is None or current in options else [current, *options]


def _named(option: str) -> Feature:
    """The feature of an option, or of what was typed in its place."""
    return parse_feature(option.partition(" · ")[0])


def _read_sampling() -> Sampling:
    defaults = Sampling()
    st.session_state.setdefault(_TOKENS, defaults.n_tokens)
    st.session_state.setdefault(_TEMPERATURE, defaults.temperature)
    st.session_state.setdefault(_SEED, defaults.seed)
    columns = st.columns(3, gap="medium")
    n_tokens = columns[0].number_input("New tokens", 1, MOST_TOKENS, step=10, key=_TOKENS)
    temperature = columns[1].number_input(
        "Temperature",
        0.0,
        HOTTEST,
        step=0.1,
        key=_TEMPERATURE,
        help="0 takes the most probable token each time; 1 draws from the model's own probabilities.",
    )
    seed = columns[2].number_input("Seed", 0, LARGEST_SEED, step=1, key=_SEED, help="The same seed, the same text.")
    return Sampling(int(n_tokens), int(seed), float(temperature))


def _offer_files(scene: Scene, recipe: Recipe | None) -> None:
    # Streamlit keeps what a callback refers to, which must not keep a model in memory.
    weak_tracker, layers = ref(scene.tracker), scene.settings.layers

    def load() -> None:
        st.session_state.pop(_FILE_ERROR, None)
        file = st.session_state[_FILE]
        if file is None:
            return
        try:
            tracker = weak_tracker()
            if tracker is None:
                raise evicted_error()
            _take(tracker.read_recipe(file.getvalue()), layers)
        except TrackerError as error:
            st.session_state[_FILE_ERROR] = f"{error} The settings are unchanged."

    with st.popover("Load a recipe", icon=":material/upload_file:"):
        st.file_uploader("A recipe that was downloaded here (JSON)", type=["json"], key=_FILE, on_change=load)
    if recipe is not None:
        offer_download(
            "Download the recipe",
            lambda: recipe.to_json().encode(),
            file_name="steering.json",
            mime="application/json",
            key="steer_download",
            help="Features, strengths, condition, and a hash of the weights, for this page and other tools. It holds "
            "no text of yours.",
        )


def _take(recipe: Recipe, layers: tuple[int, ...]) -> None:
    """Set the controls to a recipe."""
    first, *others = recipe.features
    if first.layer not in layers:
        raise TrackerError(f"The recipe steers layer {first.layer}, which isn't shown. Choose it in the sidebar first.")
    state.choose_feature(*first.feature)
    for key, steered in zip(_STRENGTHS, recipe.features, strict=False):
        st.session_state[key] = steered.strength
    names = [str(steered.feature) for steered in others]
    for key, name in zip(_OTHERS, [*names, None, None], strict=False):
        st.session_state[key] = name
    st.session_state[_ONLY_WHERE] = None if recipe.only_where is None else str(recipe.only_where.feature)


def _show_written(session: SessionSteering, scene: Scene) -> None:
    request = session.request
    if not session.is_whole:
        st.caption(f"Stopped after {max(len(one.ids) for one in session.written):,} tokens.")
    places = []
    for column, title, continuation in zip(st.columns(2, gap="medium"), TITLES, session.written, strict=True):
        with column:
            heading = title if title == "Unsteered" else f"{title} by {plain(str(request.recipe))}"
            st.markdown(f"**{heading}**\n\n{shown_text(request.prompt, continuation)}")
            places.append(st.empty())
            if st.button("What it makes of this", key=f"steer_reply_{title}", icon=":material/search_insights:"):
                session.replies[title] = scene.tracker.trace_continuation(request.prompt, continuation.text)
            if title in session.replies:
                _show_reply(session, scene, title)
    unsteered, steered = session.measured(scene.tracker)
    said = (
        f"Perplexity {unsteered:,.1f}: on average, each token surprises the model as one of {unsteered:,.0f} equally "
        "likely ones would.",
        f"Perplexity {steered:,.1f}. {surprise_in_words(unsteered, steered)}",
    )
    nothing = "The model ended its text at once." if session.is_whole else "Stopped before the first word."
    for place, continuation, sentence in zip(places, session.written, said, strict=True):
        place.caption(sentence if continuation.ids else nothing)


def _show_reply(session: SessionSteering, scene: Scene, title: str) -> None:
    """The features that stand out in a continuation, read after its prompt by the unsteered model."""
    trace, positions = session.replies[title]
    if not len(positions):
        return
    settings = scene.settings
    ranked = settings.rank(scene.tracker, trace, positions).sort_values(settings.by, ascending=False, kind="stable")
    st.caption("What stands out in the blue words, read after the prompt by the unsteered model, and where it peaks:")
    with st.container(gap=None):
        for row, feature in zip(rows_of(ranked), features_of(ranked)[:_FEATURES_SHOWN], strict=False):
            show_feature_button(
                feature,
                scene.tracker.labels,
                key=f"reply_{title}",
                measure=f"“{plain(shorten(str(row['peak_word']), 20))}”",
            )


def _show_sweep(session: SessionSteering, scene: Scene) -> None:
    st.markdown("**Next words, by strength**")
    typed = st.text_input("Words to follow", key=_WORDS, placeholder="inflation, rates, the")
    words = tuple(filter(None, (word.strip() for word in typed.split(","))))
    sweep = session.sweep(scene.tracker, words)
    # Side by side where there is room, else one below the other: the ticks need it.
    row = st.container(horizontal=True, gap="medium", vertical_alignment="center")
    left, right = (row.container(width=_HALF_WIDTH) for _ in range(2))
    with left:
        show_chart(
            plot_sweep(sweep), key="steer_sweep", name="sweep", alt="Probability of next words by strength of steering"
        )
    with right:
        table = sweep.assign(word=[shorten(word, 30) for word in sweep["word"]])
        table = table.pivot_table(index="word", columns="strength", values="probability", sort=False)
        table.columns = [f"{strength:g}" for strength in table.columns]
        show_table(
            table.reset_index(names="Next word"),
            key="steer_table",
            column_config={name: st.column_config.NumberColumn(format="percent") for name in table.columns},
        )
    st.caption(
        "How probable each word is right after the prompt; without words of yours, those that are likeliest with and "
        "without steering. The largest strength of the recipe is set to each of these, with its sign, and others in "
        "proportion."
    )
