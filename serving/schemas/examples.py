"""A request and its answer, for the OpenAPI document and the documentation."""

from __future__ import annotations

from typing import Any

_COLUMNS = (
    "month",
    "credit_limit",
    "balance",
    "spend",
    "cash_advance",
    "payment",
    "minimum_due",
    "days_past_due",
    "limit_requests",
    "credit_inquiries",
    "external_debt",
    "income",
)
_ROWS = (
    ("2026-05", 30000.0, 9200.0, 2100.0, 0.0, 1500.0, 920.0, 0, 0, 0, 31000.0, 8200.0),
    ("2026-06", 30000.0, 11050.0, 2600.0, 0.0, 1950.0, 1105.0, 0, 0, 0, 34500.0, 8200.0),
    ("2026-07", 30000.0, 13900.0, 2400.0, 1500.0, 2200.0, 1390.0, 0, 1, 1, 39000.0, 8200.0),
    ("2026-08", 30000.0, 15800.0, 1900.0, 0.0, 2150.0, 1580.0, 12, 0, 1, 44000.0, None),
    ("2026-09", 30000.0, 17450.0, 1800.0, 1200.0, 2500.0, 1745.0, 0, 1, 0, 47500.0, None),
    ("2026-10", 30000.0, 18600.0, 1700.0, 900.0, 2650.0, 1860.0, 9, 0, 1, 52000.0, None),
)

REQUEST: dict[str, Any] = {
    "account_id": "A-1027",
    "product": "pay_later",
    "currency": "CNY",
    "statements": [dict(zip(_COLUMNS, row, strict=True)) for row in _ROWS],
}

ANSWER: dict[str, Any] = {
    "decision_id": "01a1c4af-86fb-808f-865d-e4a0b4f6dd94",
    "account_id": "A-1027",
    "as_of": "2026-10",
    "decided_at": "2026-11-10T09:00:00.123456Z",
    "action": "reduce",
    "credit_limit": 30000.0,
    "new_limit": 21000.0,
    "proposed_limit": None,
    "currency": "CNY",
    "effective_on": "2026-11-13",
    "review_on": "2027-02-10",
    "review_because": [],
    "probability": 0.5269089183532366,
    "log_odds": 0.10773977157980474,
    "base_log_odds": -2.014868055374096,
    "cut_off": 0.1986706780672363,
    "reasons": [
        {
            "rank": 1,
            "code": "cash_reliance",
            "cause": "behavior",
            "share": 0.30643509960765364,
            "contribution": 0.7527690178116154,
            "leader": True,
            "text": {
                "en": (
                    "You drew cash in 2 of the last 3 months (CNY 2,100 in all), most "
                    "recently in October 2026. Of the comparison accounts, 87% drew none in "
                    "that time."
                ),
                "zh": (
                    "近3个月中，您有2个月提现（共2,100元），最近一次为2026年10月。同期，"
                    "对比账户中有87%没有提现。"
                ),
            },
            "features": [
                {
                    "name": "cash_months_3",
                    "value": 2.0,
                    "reference_value": 0.0,
                    "unit": "months",
                    "contribution": 0.45036071461864285,
                },
                {
                    "name": "cash_to_income_6",
                    "value": 0.07,
                    "reference_value": 0.0,
                    "unit": "share",
                    "contribution": 0.18858847508140217,
                },
                {
                    "name": "cash_to_limit_6",
                    "value": 0.12,
                    "reference_value": 0.0,
                    "unit": "share",
                    "contribution": 0.08307847822949925,
                },
            ],
        },
        {
            "rank": 2,
            "code": "credit_seeking",
            "cause": "behavior",
            "share": 0.29356085931272885,
            "contribution": 0.7211429761659631,
            "leader": True,
            "text": {
                "en": (
                    "You applied for credit with other lenders twice in the last 3 months, "
                    "most recently in October 2026. Of the comparison accounts, 75% did not "
                    "apply in that time."
                ),
                "zh": (
                    "近3个月，您向其他机构申请信贷2次，最近一次为2026年10月。同期，"
                    "对比账户中有75%没有申请。"
                ),
            },
            "features": [
                {
                    "name": "credit_inquiries_3",
                    "value": 2.0,
                    "reference_value": 0.0,
                    "unit": "count",
                    "contribution": 0.15420691696122346,
                },
                {
                    "name": "credit_inquiries_12",
                    "value": 3.0,
                    "reference_value": 1.0,
                    "unit": "count",
                    "contribution": 0.2881592642410182,
                },
                {
                    "name": "credit_inquiries_6",
                    "value": 3.0,
                    "reference_value": 0.0,
                    "unit": "count",
                    "contribution": 0.22916302939956132,
                },
            ],
        },
        {
            "rank": 3,
            "code": "external_debt",
            "cause": "risk",
            "share": 0.20124119136834628,
            "contribution": 0.4943563389557798,
            "leader": True,
            "text": {
                "en": (
                    "By our latest data (October 2026), you owe CNY 70,600 here and to other "
                    "lenders, 8.6 times your monthly income of CNY 8,200. The income is that "
                    "of July 2026, the latest that we know. Half of the comparison accounts "
                    "owe 2.4 times or less."
                ),
                "zh": (
                    "截至2026年10月，您在本账户和其他机构的负债合计70,600元，"
                    "是月收入（8,200元）的8.6倍。其中月收入为我们最近获知的2026年7月收入。"
                    "对比账户中有一半不超过2.4倍。"
                ),
            },
            "features": [
                {
                    "name": "total_debt_to_income",
                    "value": 8.61,
                    "reference_value": 2.38,
                    "unit": "times",
                    "contribution": 0.373717969751325,
                },
                {
                    "name": "external_debt_to_income",
                    "value": 6.34,
                    "reference_value": 1.22,
                    "unit": "times",
                    "contribution": 0.09638890049434755,
                },
                {
                    "name": "external_debt_to_limit",
                    "value": 1.73,
                    "reference_value": 0.81,
                    "unit": "times",
                    "contribution": 0.018719557546960506,
                },
            ],
        },
    ],
    "leaders": 3,
    "comparison": {
        "en": (
            "The comparison accounts are 1,000 accounts of the same kind that only just keep "
            "their limit."
        ),
        "zh": "对比账户为1,000个刚好达到保留额度标准的同类账户。",
        "size": 1000,
        "chosen": (
            "accounts of the product that the policy keeps, each at its month nearest below "
            "the cut-off, test accounts left out, and those so near the cut-off that a "
            "person decides: the pool is those within the band below, nearest first, at most "
            "ten times the accounts wanted, widened by the next nearest where they are fewer "
            "than twice those wanted; from as many strata of log-odds as accounts are wanted "
            "one each, so that the reason groups' mean contributions are nearly the pool's"
        ),
        "policy": "2026-11.8",
        "bundle": "3b7fda79b83b3af87ecf3eb1ef920bf01648f0f938f9b964ea68da15437319e1",
    },
    "notice": {
        "kind": "adverse_action",
        "send_by": "2026-11-12",
        "text": {
            "en": (
                "On 10 November 2026 we decided to lower the credit limit of your pay-later "
                "account ending in 1027 from CNY 30,000 to CNY 21,000. The new limit applies "
                "from 13 November 2026. We will look at it again on 10 February 2027.\n"
                "\n"
                "Main reasons:\n"
                "1. You drew cash in 2 of the last 3 months (CNY 2,100 in all), most "
                "recently in October 2026. Of the comparison accounts, 87% drew none in that "
                "time.\n"
                "2. You applied for credit with other lenders twice in the last 3 months, "
                "most recently in October 2026. Of the comparison accounts, 75% did not "
                "apply in that time.\n"
                "3. By our latest data (October 2026), you owe CNY 70,600 here and to other "
                "lenders, 8.6 times your monthly income of CNY 8,200. The income is that of "
                "July 2026, the latest that we know. Half of the comparison accounts owe 2.4 "
                "times or less.\n"
                "\n"
                "The comparison accounts are 1,000 accounts of the same kind that only just "
                "keep their limit.\n"
                "\n"
                "This decision was made by automated means alone. You have the right to "
                "refuse a decision made in that way. If you ask, a person will look at it "
                "again, free of charge, and explain it to you. If anything above or in our "
                "data about you is wrong or not complete, you may have it corrected or "
                "completed. Advice on how to get back what you had, where there is any, is "
                "given separately."
            ),
            "zh": (
                "我们于2026年11月10日决定，将您的先享后付账户（尾号1027）"
                "的信用额度由30,000元下调至21,000元，自2026年11月13日起生效。"
                "我们将于2027年2月10日重新评估该额度。\n"
                "\n"
                "主要原因：\n"
                "1. 近3个月中，您有2个月提现（共2,100元），最近一次为2026年10月。同期，"
                "对比账户中有87%没有提现。\n"
                "2. 近3个月，您向其他机构申请信贷2次，最近一次为2026年10月。同期，"
                "对比账户中有75%没有申请。\n"
                "3. 截至2026年10月，您在本账户和其他机构的负债合计70,600元，"
                "是月收入（8,200元）的8.6倍。其中月收入为我们最近获知的2026年7月收入。"
                "对比账户中有一半不超过2.4倍。\n"
                "\n"
                "对比账户为1,000个刚好达到保留额度标准的同类账户。\n"
                "\n"
                "本决定仅由系统自动作出。您有权拒绝我们仅以自动化决策方式作出的决定："
                "经您申请，我们将免费安排工作人员重新审核，并向您说明理由。"
                "如上述内容或我们持有的您的信息有误或不完整，您可要求更正、补充。"
                "如有恢复额度或恢复使用的建议，将另行提供。"
            ),
        },
    },
    "suspended": False,
    "prior": None,
    "since_last": None,
    "model": {
        "name": "limit-reduction",
        "version": "1",
        "bundle": "3b7fda79b83b3af87ecf3eb1ef920bf01648f0f938f9b964ea68da15437319e1",
        "reference": "69be9cfb43b7a2f0756707a74323047f31d20998b9085fedc822160ed34b9cca",
        "policy": "2026-11.8",
    },
}
