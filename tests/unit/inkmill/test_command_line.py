"""Command lines that are wrong, and help: in words of ours, and every name whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import typer

from inkmill.cli import app, run

LIBRARIES = re.compile(
    r"Input should|unable to parse|valid integer|Invalid value|No such (option|command)|Missing (argument|option)|"
    r"unexpected extra|requires an argument|does not take a value|Possible options|Usage:|Try '|pydantic|typer|click",
    re.IGNORECASE,
)
"""How pydantic and click speak."""
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
INNER = {
    f"{name} {inner}": command
    for name, group in COMMANDS.items()
    for inner, command in getattr(group, "commands", {}).items()
}
"""The commands of commands, such as `models rm`."""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("statsu", "did you mean status?"),
        ("nonsense", "there are run, submit"),
        ("--modle", "'--modle' is no option"),
        ("run --modle x f", "run: '--modle' is no option; did you mean --model?"),
        ("run --quick f", "'--quick' is no option; write --"),
        ("try -hello", "write -- before what only looks like an option"),
        ("status", "status: JOB is missing: the job's number"),
        ("run", "run: FILE is missing: JSONL"),
        ("reflag --yes", "reflag: JOB is missing"),
        ("status x", "status: JOB 'x': must be a whole number, 1 or more: the job's number"),
        ("status 1.5", "JOB '1.5'"),
        ("status 1 2", "'2' is one word too many: it takes JOB"),
        ("stop now", "it takes no arguments"),
        ("jobs --limit 0", "--limit '0': must be a whole number, 1 or more"),
        ("jobs --limit", "--limit needs a value"),
        ("jobs --json=3", "--json takes no value"),
        ("web --port 99999", "--port '99999': must be a whole number from 0 to 65535"),
        ("web --audit-share much", "--audit-share 'much': must be a number from 0 to 1"),
        ("reproduce x", "OUTPUT 'x': must be a whole number"),
        ("worker --threads many", "--threads 'many'"),
        ("submit f --n x", "--n: must be a whole number, not 'x'"),
        ("submit f --top-k 1.5", "--top-k: must be a whole number, not 1.5"),
        ("submit f --temperature hot", "--temperature: must be a number, not 'hot'"),
        ("submit f --temperature nan", "--temperature: must be a number"),
        ("submit f --top-p 0", "--top-p: must be above 0"),
        ("submit f --seed -1", "--seed '-1': must be a whole number, 0 or more"),
        ("submit f --bad-words-match all", "--bad-words-match: must be word or substring"),
        ("submit f --safety orignal", "did you mean original?"),
        ("help statsu", "did you mean status?"),
        ("models lst", "models: 'lst' is no command; there are show, rm"),
        ("models rm", "models rm: NAME is missing: your own model"),
        ("models rm x y", "models rm: 'y' is one word too many: it takes NAME"),
        ("models --json show x", "--json stands behind show"),
        ("help models shwo", "did you mean show? See 'inkmill help models'"),
        ("help jobs x", "help: 'inkmill jobs' has no commands of its own, such as 'x'"),
        ("lineage x", "OUTPUT 'x': must be a whole number"),
    ],
)
def test_what_is_wrong_is_told_in_words_of_ours(
    folder: object, capsys: pytest.CaptureFixture[str], words: str, told: str
) -> None:
    assert run(words.split()) == 2
    said = capsys.readouterr()
    assert told in said.err and not said.out
    assert said.err.startswith("inkmill: ") and said.err.count("\n") == 1
    assert not LIBRARIES.search(said.err)


@pytest.mark.parametrize("flags", ["--top-p .5", "--temperature 1e-1", "--top-k -1", "--n 02", "--presence-penalty -1"])
def test_numbers_are_taken_as_people_type_them(folder: object, capsys: pytest.CaptureFixture[str], flags: str) -> None:
    assert run(["submit", "p.jsonl", "--model", "demo", "--safety", "demo", *flags.split()]) == 0


def helped(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(list(words)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
@pytest.mark.parametrize("command", sorted(COMMANDS | INNER))
def test_help_cuts_no_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    said = helped(capsys, *command.split(), "--help")
    words = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", said))
    for param in (COMMANDS | INNER)[command].params:
        hidden, option = getattr(param, "hidden", False), param.param_type_name == "option"
        if option:
            assert set(param.opts) <= words or hidden
    assert "…" not in re.sub("OUTPUT…|CORPUS…|COMMAND …", "", said)
    assert max(map(len, said.splitlines())) <= max(columns, 45)
    assert helped(capsys, "help", *command.split()) == said


def test_every_option_of_a_job_says_its_default_and_gives_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("run", "submit", "try"):
        blocks = re.split(r"\n  (?=-)", helped(capsys, command, "--help"))[1:]
        for block in blocks:
            heading, _, said = block.partition("\n")
            if re.search(r" [A-Z][A-Z=…]*$", heading) and "--out" not in heading:
                assert "[default:" in " ".join(said.split()), block
                assert "for example" in " ".join(said.split()), block


def test_every_sampling_setting_says_its_range(capsys: pytest.CaptureFixture[str]) -> None:
    said = " ".join(helped(capsys, "run", "--help").split())
    assert "--max-new-tokens N most tokens to write (1 to 1024)" in said
    assert "Also --max-tokens, --max-completion-tokens, --length. [default: 64]" in said
    assert "(above 0, to 1)" in said and "[default: 50]" in said and "[default: none]" in said


def test_the_program_without_a_command_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    listed = capsys.readouterr().err
    assert all(f"\n  {name} " in listed for name in COMMANDS)
    assert helped(capsys, "help") == helped(capsys, "--help") == listed


@pytest.mark.parametrize(
    ("typed", "offered"), [("inkmill st", "status"), ("inkmill run --mo", "--model"), ("inkmill ", "run")]
)
def test_a_shell_can_complete_commands_and_options(typed: str, offered: str) -> None:
    asked = {"_INKMILL_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    words = [sys.executable, "-m", "inkmill"]
    done = subprocess.run(words, env=os.environ | asked, capture_output=True, text=True, check=True)
    assert offered in done.stdout.split() and not done.stderr
