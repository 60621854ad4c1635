from __future__ import annotations

import pytest

from serving.decision.config.policy import read_policy
from serving.decision.config.strict_toml import ConfigError
from tests.support.each import each
from tests.support.policies import WITH_INCOME_CAP

BROKEN = [
    ("floor = 500.0", "", "cut\\]: missing key 'floor'"),
    ("floor = 500.0", "floor = 500.0\nflor = 1.0", "unknown key 'flor', did you mean 'floor'"),
    (
        "floor = 500.0",
        'floor = "500"',
        "policy.toml: \\[cut\\] floor: expected a number of at least 0, got '500'",
    ),
    (
        "harm = 0.05",
        "harm = 0.05\nmargin = 1.06",
        "economics\\] margin: expected a number from 0 to 1, got 1.06",
    ),
    ("harm = 0.05", "harm = 0.05\nmargin = nan", "economics\\] margin: expected a number"),
    (
        'cause = "regulation"',
        'cause = "whim"',
        "rules\\[1\\]\\] cause: expected one of .* got 'whim'",
    ),
    (
        'source = "the example regulation on cash loans, article 6"\n',
        "",
        "rules\\[1\\]\\] source: expected the regulation by name and article, .*, got None",
    ),
    (
        'source = "the example regulation on cash loans, article 6"',
        'source = " "',
        "rules\\[1\\]\\] source: expected a text",
    ),
    (
        "at_least = 60",
        "at_leest = 60",
        "rules\\[0\\].when\\[0\\]\\]: expected a feature and one of",
    ),
    (
        "effect = { suspend = true }",
        "effect = { vanish = true }",
        "rules\\[0\\].effect\\]: expected cap",
    ),
    (
        'from = "2025-10"',
        'from = "October"',
        "rules\\[1\\]\\] from: expected a month .* got 'October'",
    ),
    ("\nnotice_within_days = 30", "", "dates\\]: missing key 'notice_within_days'"),
    (
        "\nnotice_within_days = 30",
        "\nnotice_within_days = -1",
        "dates\\] notice_within_days: expected a number of at least 0, got -1",
    ),
    (
        "hearing_notice_within_days = 1",
        "hearing_notice_within_days = 5",
        "dates\\] hearing_notice_within_days: expected a day before that of decide_within_days "
        "\\(5\\), .*, got 5",
    ),
    (
        "decide_within_days = 5",
        "decide_within_days = 1.9",
        "dates\\] hearing_notice_within_days: expected a day before that of decide_within_days "
        "\\(1\\)",
    ),
    (
        "review_after_months = 3",
        "review_after_months = 300",
        "dates\\] review_after_months: expected a number from 0 to 60, got 300",
    ),
    ("share = 0.01", "share = 0.3", "control\\] share: expected a number from 0 to 0.2, got 0.3"),
    ("share = 0.01", "shere = 0.01", "control\\]: unknown key 'shere', did you mean 'share'"),
    ("again_after_months = 6", "again_after_months = 1.5", "expected a whole number of at least 0"),
    (
        "{ margin = 0.3,",
        "{ margin = 0.09,",
        "steps\\[0\\]\\] margin: expected a number of at least 0.1",
    ),
    (
        "margin = 1.0, share",
        "margin = 0.3, share",
        "expected a margin above 0.3 and a share above 0.5",
    ),
    ("share = 0.5 }", "share = 0.0 }", "restore.steps\\[0\\]\\] share: expected a number"),
    ("share = 1.0 }", "share = 0.9 }", "restore\\] steps: expected a last step that gives all"),
    (
        "{ margin = 0.3, share = 0.5 }, { margin = 1.0, share = 1.0 }",
        "",
        "restore\\] steps: expected",
    ),
    ("[economics]", "[economics", "policy.toml: expected TOML"),
    ("rounding = 100.0", "rounding = 0", "cut\\] rounding: expected a number above 0, got 0"),
    (
        'code = "unused_line"',
        'code = "income_multiple_cap"',
        "rules\\[2\\]\\] code: expected a code that no other rule has \\(rules\\[1\\] has it\\), "
        "got 'income_multiple_cap'",
    ),
    (
        "which is {cap}.",
        "which is {limit}.",
        "rules\\[1\\]\\] en: expected no placeholders but {as_of} and {cap} and {value}, "
        "got \\['{limit}'\\]",
    ),
    ("逾期{value}天。", "逾期{天；", "rules\\[0\\]\\] zh: expected placeholders as {name}"),
    (
        "逾期{value}天。",
        "逾期{value:.1f}天。",
        "rules\\[0\\]\\] zh: expected placeholders as {name}",
    ),
    (
        "逾期{value}天。",
        "逾期{}天；",
        "rules\\[0\\]\\] zh: expected no placeholders but {as_of} and {value}",
    ),
    (
        "逾期{value}天。",
        "逾期{value}天（{cap}）。",
        "rules\\[0\\]\\] zh: expected no placeholders but {as_of} and {value}, got \\['{cap}'\\]",
    ),
    (
        "effect = { suspend = true }",
        "effect = { suspend = false }",
        "rules\\[0\\].effect\\] suspend: expected one of \\[True\\], got False",
    ),
    (
        "effect = { cap = 2000.0 }",
        "effect = { cap = -1 }",
        "rules\\[2\\].effect\\] cap: expected a number of at least 0, got -1",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "message"), BROKEN, ids=[new or "missing" for _, new, _ in BROKEN]
)
def test_a_broken_policy_names_the_key(
    old: str,
    new: str,
    message: str,
) -> None:
    assert old in WITH_INCOME_CAP
    with pytest.raises(ConfigError, match=message):
        read_policy(WITH_INCOME_CAP.replace(old, new, 1))


def test_every_number_of_the_policy_has_a_comment_above_it() -> None:
    lines = WITH_INCOME_CAP.split("[[rules]]")[0].splitlines()
    settings = [
        place
        for place, line in enumerate(lines)
        if "=" in line and not line.startswith(("#", "version"))
    ]
    for place in each(settings):
        above = place - 1
        while "=" in lines[above] and not lines[above].startswith("#"):
            above -= 1  # one comment may cover several settings
        assert lines[above].startswith("#"), lines[place]
