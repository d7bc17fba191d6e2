"""Cleaning rules of one's own."""

import pytest

from vesalius.errors import DataError
from vesalius.text import clean, clean_with_report
from vesalius.text.rules import read_rules

GOOD = r"""
rules:
  - name: stamp
    pattern: "【[^】]*医院】"
  - pattern: (?P<rate>\d+)BPM
    replace: \g<rate>次/分
    flags: [ignore-case]
"""


def test_rules_are_applied_after_all_else_and_reported_by_name(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD, encoding="utf-8")
    rules = read_rules(path)
    text, changes = clean_with_report("【某某医院】心率８０bpm", rules=rules)
    assert text == "心率80次/分"
    assert list(changes) == ["width", "stamp", r"(?P<rate>\d+)BPM"]
    assert clean("心率８０bpm", rules=rules) == "心率80次/分"


def test_all_mistakes_of_a_file_are_named_with_their_entry(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(
        "- pattern: '('\n- patern: a\n- {pattern: a, replace: '\\2'}\n- {pattern: ok}\n"
        "- {pattern: a, flags: [loud]}\n",
        encoding="utf-8",
    )
    with pytest.raises(DataError) as caught:
        read_rules(path)
    problems = caught.value.problems
    assert {problem.partition(":")[0] for problem in problems} == {
        *("rule 1", "rule 2", "rule 3", "rule 5")
    }
    assert str(path) in str(caught.value)
    assert "pattern" in " ".join(problems)


@pytest.mark.parametrize("content", ["just words", "rules: 5", "a: [", "{}"])
def test_a_file_that_holds_no_list_is_refused(tmp_path, content):
    path = tmp_path / "rules.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(Exception, match=r"rules\.yaml") as caught:
        read_rules(path)
    assert isinstance(caught.value, DataError) or "not valid YAML" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="no such rule file"):
        read_rules(tmp_path / "none.yaml")
