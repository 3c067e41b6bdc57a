"""Settings as users write them: names, aliases, types, ranges, and what is said of the wrong ones."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.errors import SettingsError, UsageError
from contract.policy import flag_reasons, read_thresholds, top_score
from contract.sampling import CANONICAL, SETTINGS, parse_cell, read_settings
from contract.spec import SEED_LIMIT, SamplingSettings, merge, output_seed
from inkmill.commands.options import read_flags


def problem(raw: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as wrong:
        merge(SamplingSettings(), read_settings(raw))
    return str(wrong.value)


def test_every_setting_is_a_field_of_the_spec_and_its_default_is_valid() -> None:
    assert set(SETTINGS) == set(SamplingSettings.__dataclass_fields__)
    defaults = {name: value for name, value in SamplingSettings().to_dict().items() if value not in (None, [])}
    assert merge(SamplingSettings(), read_settings(defaults)) == SamplingSettings()


@pytest.mark.parametrize(
    ("alias", "name"),
    [("num_return_sequences", "n"), ("nsamples", "n"), ("max_tokens", "max_new_tokens"), ("length", "max_new_tokens"),
     ("min_tokens", "min_new_tokens")],
)  # fmt: skip
def test_other_engines_names_are_accepted(alias: str, name: str) -> None:
    assert read_settings({alias: 3}) == {name: 3}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"temprature": 1}, "temprature: is not a setting; did you mean temperature?"),
        ({"max_length": 5}, "max_length: is not used here because it would count the prompt"),
        ({"top_p": 1.5}, "top_p: must be above 0 and at most 1, not 1.5"),
        ({"top_p": 0}, "top_p: must be above 0"),
        ({"top_k": "5"}, "top_k: must be a whole number, not '5'"),
        ({"top_k": True}, "top_k: must be a whole number"),
        ({"temperature": float("nan")}, "temperature: must be a number"),
        ({"do_sample": "yes"}, "do_sample: must be true or false"),
        ({"stop": [""]}, "stop: must be a text or a list of texts, none of them empty"),
        ({"bad_words_match": "phrase"}, "bad_words_match: must be word or substring, not 'phrase'"),
        ({"bad_words_match": ["word"]}, "bad_words_match: must be word or substring, not ['word']"),
        ({"logit_bias": {"x": 1}}, "logit_bias: has a key that is not a token id: 'x'"),
        ({"logit_bias": {"0": 1, "00": 2}}, "logit_bias: has a key that is not a token id: '00'"),
        ({"logit_bias": {"-1": 1}}, "logit_bias: has a key that is not a token id: '-1'"),
        ({"logit_bias": {"1_0": 1}}, "logit_bias: has a key that is not a token id: '1_0'"),
        ({"logit_bias": {"٣": 1}}, "logit_bias: has a key that is not a token id: '٣'"),
        ({"logit_bias": {"7": 10**400}}, "logit_bias: must be from -100 to 100, not a number of over 1024 bits"),
        ({"temperature": 10**400}, "temperature: must be from 0 to 100, not a number of over 1024 bits"),
        ({"temperature": float("inf")}, "temperature: must be from 0 to 100, not inf"),
        ({"n": 10**5000}, "n: must be from 1 to 1000, not a number of over 1024 bits"),
        ({"n": [10**5000]}, "n: must be a whole number, not [a number of over 1024 bits]"),
        ({"stop": ["\ud800"]}, "stop: contains half a character"),
        ({"logit_bias": {"5": 101}}, "logit_bias: must be from -100 to 100"),
        ({"max_tokens": 5, "length": 6}, "length: sets max_new_tokens a second time"),
        ({"n": 2, "temperature": 0}, "n: is 2, but greedy decoding"),
        ({"n": 2, "do_sample": False}, "n: is 2, but greedy decoding"),
        ({"min_tokens": 9, "max_tokens": 3}, "min_new_tokens: is 9, more than max_new_tokens 3"),
        ({"seed": SEED_LIMIT}, "seed: must be from 0 to"),
        ({"n": 1001}, "n: must be from 1 to 1000, not 1001"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_right(raw: dict[str, Any], said: str) -> None:
    assert said in problem(raw)


def test_a_wrong_value_may_be_as_deep_as_json_allows() -> None:
    deep: list[Any] = []
    for _ in range(1000):
        deep = [deep]
    assert "stop: must be a text or a list of texts" in problem({"stop": deep})


def test_all_wrong_fields_are_said_at_once() -> None:
    said = problem({"top_p": 2, "top_k": -2, "nonsense_entirely": 1})
    assert all(name in said for name in ("top_p", "top_k", "nonsense_entirely"))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
biases = st.dictionaries(st.text("0123456789_- +٣", min_size=1, max_size=2), st.integers() | st.floats(-100, 100))


@given(st.dictionaries(st.sampled_from([*CANONICAL, "other"]), anything | biases))
@example({"logit_bias": {"0": 1, "00": 2}})
@example({"logit_bias": {"1": 1, "+1": 2}})
@example({"temperature": 10**400})
@example({"stop": ["\udcff"]})
def test_anything_at_all_is_read_or_refused_and_what_is_read_survives_storage(raw: dict[str, Any]) -> None:
    try:
        settings = merge(SamplingSettings(), read_settings(raw))
    except SettingsError:
        return
    stored = orjson.loads(orjson.dumps(settings.to_dict()))
    assert merge(SamplingSettings(), read_settings(stored)) == settings


def test_seeds_depend_on_everything_they_should_and_stay_below_2_to_the_53() -> None:
    seeds = {
        output_seed(1, None, "a", 0),
        output_seed(2, None, "a", 0),
        output_seed(1, None, "b", 0),
        output_seed(1, None, "a", 1),
        output_seed(1, None, 0, 0),
        output_seed(1, None, "0", 0),
        output_seed(1, 5, "a", 0),
    }
    assert len(seeds) == 7
    assert all(0 <= seed < SEED_LIMIT for seed in seeds)
    assert output_seed(1, 5, "a", 0) == output_seed(9, 5, 77, 0), "a row's own seed decides alone"


def test_seeds_never_change_from_one_version_to_the_next() -> None:
    assert output_seed(7, None, "r-1", 0) == 5733401263777325
    assert output_seed(7, None, 3, 2) == 1987090813952800
    assert output_seed(7, 42, "r-1", 0) == 1799450673870667


def test_seeds_do_not_depend_on_what_this_python_knows_of_unicode() -> None:
    newer_than_python_3_11 = "\U0001fae8-1"  # a character of Unicode 15, which Python 3.12 was the first to know
    assert output_seed(8123, None, newer_than_python_3_11, 0) == 218495499760672
    assert output_seed(8123, None, "für-1", 0) == 114567906537982


def test_flags_follow_thresholds_and_the_blocklist() -> None:
    scores = {"toxicity": 0.7, "insult": 0.69, "threat": 0.2}
    assert flag_reasons(scores, {}) == ["toxicity"]
    assert flag_reasons(scores, {"toxicity": 0.8, "threat": 0.1}) == ["threat"]
    assert flag_reasons({}, {}, ["turnip"]) == ["blocklist:turnip"]
    assert top_score(scores) == 0.7
    assert top_score({}) is None


def test_thresholds_are_read_and_wrong_ones_explained() -> None:
    assert read_thresholds(["toxicity=0.5"]) == {"toxicity": 0.5}
    assert set(read_thresholds(["0.3"]).values()) == {0.3}
    for pair, said in (("toxicty=0.5", "toxicity"), ("toxicity=2", "from 0 to 1"), ("toxicity=x", "LABEL=X")):
        with pytest.raises(UsageError, match=said):
            read_thresholds([pair])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (r"\n", "\n"),
        (r"\n\n", "\n\n"),
        (r"a\tb", "a\tb"),
        (r"\r\n", "\r\n"),
        (r"\\n", r"\n"),
        (r"\d\x", r"\d\x"),
        ("\\", "\\"),
    ],
)
def test_line_ends_and_tabs_can_be_typed(typed: str, meant: str) -> None:
    for name in ("stop", "bad_words"):
        assert parse_cell(name, typed) == meant
        assert read_flags({name: [typed, "x"]}) == {name: (meant, "x")}
    assert parse_cell("stop", r'["\\n"]') == ["\\n"]  # in JSON its own escapes are enough


def test_what_turns_a_setting_off_elsewhere_turns_it_off_here() -> None:
    assert read_settings({"top_k": -1, "seed": -1}) == {"top_k": 0}
    assert read_settings({"top_k": -1.0}) == {"top_k": 0}
    assert "top_k: must be from 0" in problem({"top_k": -2})
    assert "seed: must be from 0" in problem({"seed": -2})


def test_the_newer_name_of_openais_limit_is_taken() -> None:
    assert read_settings({"max_completion_tokens": 12}) == {"max_new_tokens": 12}
