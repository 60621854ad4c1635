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
    ("2026-08", 30000.0, 15800.0, 1900.0, 1000.0, 2150.0, 1580.0, 12, 0, 1, 44000.0, None),
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
    "decision_id": "01a1c4af-86fb-8817-9427-ad5be17f9319",
    "account_id": "A-1027",
    "as_of": "2026-10",
    "decided_at": "2026-11-10T09:00:00.123456Z",
    "action": "reduce",
    "credit_limit": 30000.0,
    "new_limit": 19600.0,
    "proposed_limit": None,
    "currency": "CNY",
    "effective_on": "2026-11-13",
    "review_on": "2027-02-10",
    "review_because": [],
    "probability": 0.5866783094605053,
    "log_odds": 0.35025044335384425,
    "base_log_odds": -2.5037860479529237,
    "cut_off": 0.12790697674418605,
    "reasons": [
        {
            "rank": 1,
            "code": "cash_reliance",
            "cause": "behavior",
            "share": 0.3219509724450166,
            "contribution": 1.117233682509128,
            "leader": True,
            "text": {
                "en": (
                    "The cash you drew in the last 6 months is 15 % of your limit; accounts that "
                    "keep theirs: 0 %."
                ),
                "zh": "近6个月取现金额为额度的15%；保留额度的账户为0%。",
            },
            "features": [
                {
                    "name": "cash_to_limit_6",
                    "value": 0.15333333333333332,
                    "reference_value": 0.0,
                    "unit": "share",
                    "contribution": 0.18897314079259114,
                },
                {
                    "name": "cash_to_income_6",
                    "value": 0.09349593495934959,
                    "reference_value": 0.0,
                    "unit": "share",
                    "contribution": 0.5389188925248674,
                },
                {
                    "name": "cash_months_3",
                    "value": 3.0,
                    "reference_value": 0.0,
                    "unit": "months",
                    "contribution": 0.309177697375097,
                },
            ],
        },
        {
            "rank": 2,
            "code": "credit_seeking",
            "cause": "behavior",
            "share": 0.228193620821275,
            "contribution": 0.8268819916595669,
            "leader": True,
            "text": {
                "en": "You applied for credit elsewhere 3 times in the last 6 months.",
                "zh": "近6个月您在其他机构申请信贷3次。",
            },
            "features": [
                {
                    "name": "credit_inquiries_12",
                    "value": 3.0,
                    "reference_value": 0.0,
                    "unit": "count",
                    "contribution": 0.4300525153417067,
                },
                {
                    "name": "limit_requests_12",
                    "value": 2.0,
                    "reference_value": 0.0,
                    "unit": "count",
                    "contribution": 0.0015590933463765476,
                },
                {
                    "name": "credit_inquiries_3",
                    "value": 2.0,
                    "reference_value": 0.0,
                    "unit": "count",
                    "contribution": 0.20065514517489527,
                },
            ],
        },
        {
            "rank": 3,
            "code": "weak_repayment",
            "cause": "behavior",
            "share": 0.21856971244794451,
            "contribution": 0.29881571120018563,
            "leader": False,
            "text": {
                "en": (
                    "Over the last 6 months you paid 17 % of your balances; accounts that keep "
                    "their limit pay 45 %."
                ),
                "zh": "近6个月您偿还了账单的17%；保留额度的账户为45%。",
            },
            "features": [
                {
                    "name": "payment_to_balance_12",
                    "value": 0.1698813056379822,
                    "reference_value": 0.4462537582385183,
                    "unit": "share",
                    "contribution": 0.04005664926198694,
                },
                {
                    "name": "payment_to_balance_6",
                    "value": 0.1698813056379822,
                    "reference_value": 0.4156196268637564,
                    "unit": "share",
                    "contribution": 0.10939623664753835,
                },
                {
                    "name": "payment_to_balance_3",
                    "value": 0.15482502651113467,
                    "reference_value": 0.36421981285267196,
                    "unit": "share",
                    "contribution": 0.10022321837246237,
                },
            ],
        },
        {
            "rank": 4,
            "code": "external_debt",
            "cause": "risk",
            "share": 0.1626781220848261,
            "contribution": 0.5748863699285405,
            "leader": False,
            "text": {
                "en": (
                    "You owe other lenders 6.3 times your monthly income; accounts that keep their "
                    "limit, 1.0 times."
                ),
                "zh": "您在其他机构的负债为月收入的6.3倍；保留额度的账户为1.0倍。",
            },
            "features": [
                {
                    "name": "external_debt_to_income",
                    "value": 6.341463414634147,
                    "reference_value": 1.0145909411764706,
                    "unit": "times",
                    "contribution": 0.031821040918259956,
                },
                {
                    "name": "total_debt_to_income",
                    "value": 8.609756097560975,
                    "reference_value": 1.981696052631579,
                    "unit": "times",
                    "contribution": 0.4688618704487216,
                },
                {
                    "name": "external_debt_to_limit",
                    "value": 1.7333333333333334,
                    "reference_value": 0.6664309090909091,
                    "unit": "times",
                    "contribution": 0.022528808668520254,
                },
            ],
        },
    ],
    "leaders": 2,
    "comparison": {
        "en": (
            "The comparison accounts are 1,000 accounts of the same kind that only just keep their "
            "limit. Where we give a value for them, half of them have that value or less, and half "
            "have that value or more."
        ),
        "zh": (
            "对比账户为1,000个刚好达到保留额度标准的同类账户。"
            "文中对比账户的数值为中位数：一半账户不高于该值，一半账户不低于该值。"
        ),
        "size": 1000,
        "chosen": (
            "accounts of the product that the policy keeps, each at its month nearest below the "
            "cut-off, test accounts left out, and those so near the cut-off that a person decides: "
            "the pool is those within the band below, nearest first, at most ten times the "
            "accounts wanted, widened by the next nearest where they are fewer than twice those "
            "wanted; from as many strata of log-odds as accounts are wanted one each, so that the "
            "reason groups' mean contributions are nearly the pool's"
        ),
        "policy": "2026-11.3",
        "bundle": "1e3e2bdd271b0aa2725cdf6cb4fa9bc69779786f3edbcb5c2901b148a29e92c7",
    },
    "notice": {
        "kind": "adverse_action",
        "send_by": "2026-11-12",
        "text": {
            "en": (
                "On 10 November 2026 we decided to lower the credit limit of your account from CNY "
                "30,000 to CNY 19,600. "
                "The new limit applies from 13 November 2026. "
                "We will look at it again on 10 February 2027.\n\n"
                "Principal reasons:\n"
                "1. The cash you drew in the last 6 months is 15 % of your limit; accounts that "
                "keep theirs: 0 %.\n"
                "2. You applied for credit elsewhere 3 times in the last 6 months.\n"
                "3. Over the last 6 months you paid 17 % of your balances; accounts that keep "
                "their limit pay 45 %.\n"
                "4. You owe other lenders 6.3 times your monthly income; accounts that keep their "
                "limit, 1.0 times.\n\n"
                "This decision was made by automated means alone. "
                "You have the right to refuse that: if you ask, a person will reconsider it, free "
                "of charge, and explain it to you. "
                "If anything above or in our data about you is wrong or incomplete, you may have "
                "it corrected. "
                "Advice on regaining the limit, where there is any, is given separately."
            ),
            "zh": (
                "我们于2026年11月10日决定，将您账户的信用额度由30,000元下调至19,600元，"
                "自2026年11月13日起生效。我们将于2027年2月10日重新评估该额度。\n\n"
                "主要原因：\n"
                "1. 近6个月取现金额为额度的15%；保留额度的账户为0%。\n"
                "2. 近6个月您在其他机构申请信贷3次。\n"
                "3. 近6个月您偿还了账单的17%；保留额度的账户为45%。\n"
                "4. 您在其他机构的负债为月收入的6.3倍；保留额度的账户为1.0倍。\n\n"
                "本决定仅由系统自动作出，您有权拒绝：经您申请，我们将免费安排工作人员重新审核，"
                "并向您说明理由。如上述内容或我们持有的您的信息有误或不完整，您可要求更正。"
                "如有恢复额度的建议，将另行提供。"
            ),
        },
    },
    "model": {
        "name": "limit-reduction",
        "version": "1",
        "bundle": "1e3e2bdd271b0aa2725cdf6cb4fa9bc69779786f3edbcb5c2901b148a29e92c7",
        "reference": "7c5d0b2b0ec1072d7909ab46636694ec2f0f003a6bfd21f225f3d5fdac831ead",
        "policy": "2026-11.3",
    },
}
