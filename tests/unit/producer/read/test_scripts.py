"""Prompts in a script that the classifier was not trained on are remarked on once, with the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from inkmill.cli import run
from producer.unknown_scripts import ScriptCounts, script_of

CHINESE = "从前有一个磨坊"
RUSSIAN = "Жила-была мельница"


def counted(*prompts: str) -> ScriptCounts:
    counts = ScriptCounts()
    for line, prompt in enumerate(prompts, 1):
        counts.look(prompt, line)
    return counts


@pytest.mark.parametrize(
    ("prompt", "script"),
    [
        (CHINESE, "Chinese characters"),
        ("むかしむかし、ある水車", "Japanese kana"),
        ("옛날에 방앗간이", "Hangul"),
        (RUSSIAN, "Cyrillic"),
        ("كان يا ما كان", "Arabic"),
        ("एक बार की बात है", "Devanagari"),
        ("นานมาแล้ว", "Thai"),
        ("Μια φορά κι έναν καιρό", "Greek"),
        ("היה היה פעם", "Hebrew"),
        ("ከዕለታት አንድ ቀን", "Ethiopic"),
        (f"{CHINESE}, the mill", "Chinese characters"),  # seven of fourteen letters would not do
    ],
)
def test_a_prompt_counts_for_the_script_of_most_of_its_letters(prompt: str, script: str) -> None:
    assert dict(counted("Once", prompt + prompt[:2]).prompts) == {script: 1}


@pytest.mark.parametrize(
    "prompt",
    [
        "", "123 + 456", "Once upon a time", "Es war einmal eine Mühle, schön groß", "Il était une fois à Nîmes",
        "Bir varmış, bir yokmuş", "Ngày xửa ngày xưa có một cối xay", "She wrote 水車 and 磨坊 on the wall",
        "ΔE = mc² and λ", "Tōkyō ə ʃ", "𝐓𝐡𝐞 𝐦𝐢𝐥𝐥", "the mill 😀🏭", "“quoted” … — €5", "ＦＵＬＬ ｗｉｄｔｈ", "№ 5 ℃ ℏ",
    ],
)  # fmt: skip
def test_latin_letters_and_a_few_foreign_ones_count_for_nothing(prompt: str) -> None:
    assert counted(prompt).remarks("original") == []


@pytest.mark.parametrize(
    ("classifier", "prompts", "said"),
    [
        ("original", (CHINESE,), ["1 prompt is in a script that original does not know, 1 in Chinese",
                                  "it knows English", "no built-in classifier does"]),
        ("unbiased-small", (RUSSIAN, "x", RUSSIAN), ["2 in Cyrillic (line 1 first): ",
                                                     "; --safety multilingual knows Russian"]),
        ("original", (CHINESE, RUSSIAN), ["2 prompts are", "knows Russian, and of the rest none does"]),
        ("multilingual", (CHINESE, RUSSIAN), ["1 prompt is", "Turkish and Russian", "no built-in classifier does"]),
        ("original", (CHINESE, RUSSIAN, "كان", "היה", "Μια"), ["2 in other scripts"]),
    ],
)  # fmt: skip
def test_the_remark_names_script_classifier_and_way_out(
    classifier: str, prompts: tuple[str, ...], said: list[str]
) -> None:
    (remark,) = counted(*prompts).remarks(classifier)
    assert all(part in remark for part in said), remark


@pytest.mark.parametrize(
    ("classifier", "prompt"), [("multilingual", RUSSIAN), ("/models/mine.ckpt", CHINESE), ("none", CHINESE)]
)
def test_nothing_is_said_of_what_a_classifier_knows_and_of_unknown_classifiers(classifier: str, prompt: str) -> None:
    assert counted(prompt).remarks(classifier) == []


def test_letters_without_a_name_have_a_script_too() -> None:
    assert script_of("\ue000") and script_of("𐌀") == "Old Italic" and script_of("ｶ") == "Japanese kana"


def test_submit_remarks_on_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path))
    (tmp_path / "p.txt").write_text(f"The mill\n{CHINESE}\n{CHINESE}\n")
    assert run(["submit", str(tmp_path / "p.txt"), "--model", "demo", "--safety", "original"]) == 0
    told = "note: 2 prompts are in a script that original does not know, 2 in Chinese characters (line 2 first): "
    assert capsys.readouterr().err.count(told) == 1
    assert run(["submit", str(tmp_path / "p.txt"), "--model", "demo", "--safety", "none"]) == 0
    assert "script" not in capsys.readouterr().err
