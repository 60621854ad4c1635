"""A request and the answer that it got, as OpenAPI and the documentation show them; a test holds them to the models."""

from __future__ import annotations

from typing import Any

_COLUMNS = (
    "month", "credit_limit", "balance", "spend", "cash_advance", "payment", "minimum_due", "days_past_due",
    "limit_requests", "credit_inquiries", "external_debt", "income",
)  # fmt: skip
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
    "decision_id": "01a1c4af-86fb-84ab-9329-d16bc2254a67",
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
    "probability": 0.5866783094605054,
    "log_odds": 0.35025044335384503,
    "base_log_odds": -2.503786047952924,
    "cut_off": 0.12790697674418605,
    "reasons": [
        {
            "rank": 1,
            "code": "cash_reliance",
            "cause": "behavior",
            "share": 0.30336716106233164,
            "contribution": 1.1172336825091285,
            "effect": 1.0650340564530454,
            "text": {
                "en": "Over the last 6 months the cash you drew a month is 9 % of your monthly income; accounts that keep their limit: 0 %.",
                "zh": "近6个月月均取现为收入的9%；保留额度的账户为0%。",
            },
            "features": [
                {
                    "name": "cash_to_income_6",
                    "value": 0.09349593495934959,
                    "reference_value": 0.0,
                    "unit": "share",
                    "contribution": 0.5389188925248676,
                },
                {
                    "name": "cash_months_3",
                    "value": 3.0,
                    "reference_value": 0.0,
                    "unit": "months",
                    "contribution": 0.3091776973750971,
                },
                {
                    "name": "cash_to_limit_6",
                    "value": 0.15333333333333332,
                    "reference_value": 0.0,
                    "unit": "share",
                    "contribution": 0.1889731407925912,
                },
            ],
        },
        {
            "rank": 2,
            "code": "credit_seeking",
            "cause": "behavior",
            "share": 0.28115988939196696,
            "contribution": 0.8268819916595672,
            "effect": 1.0354492473715877,
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
                    "contribution": 0.43005251534170685,
                },
                {
                    "name": "credit_inquiries_3",
                    "value": 2.0,
                    "reference_value": 0.0,
                    "unit": "count",
                    "contribution": 0.20065514517489536,
                },
                {
                    "name": "credit_inquiries_6",
                    "value": 3.0,
                    "reference_value": 0.0,
                    "unit": "count",
                    "contribution": 0.15267890075409304,
                },
            ],
        },
        {
            "rank": 3,
            "code": "external_debt",
            "cause": "risk",
            "share": 0.15610131408406205,
            "contribution": 0.5748863699285406,
            "effect": 0.24234325298562537,
            "text": {
                "en": "What you owe here and elsewhere is 8.6 times your monthly income; accounts that keep their limit, 2.0 times.",
                "zh": "您的全部负债为月收入的8.6倍；保留额度的账户为2.0倍。",
            },
            "features": [
                {
                    "name": "total_debt_to_income",
                    "value": 8.609756097560975,
                    "reference_value": 1.981696052631579,
                    "unit": "times",
                    "contribution": 0.46886187044872174,
                },
                {
                    "name": "external_debt_to_income",
                    "value": 6.341463414634147,
                    "reference_value": 1.0145909411764706,
                    "unit": "times",
                    "contribution": 0.03182104091825996,
                },
                {
                    "name": "external_debt_to_limit",
                    "value": 1.7333333333333334,
                    "reference_value": 0.6664309090909091,
                    "unit": "times",
                    "contribution": 0.022528808668520264,
                },
            ],
        },
        {
            "rank": 4,
            "code": "weak_repayment",
            "cause": "behavior",
            "share": 0.14926388296014217,
            "contribution": 0.29881571120018563,
            "effect": 0.5497056340613846,
            "text": {
                "en": "Over the last 6 months you paid 17 % of your balances; accounts that keep their limit pay 42 %.",
                "zh": "近6个月您偿还了账单的17%；保留额度的账户为42%。",
            },
            "features": [
                {
                    "name": "payment_to_balance_6",
                    "value": 0.1698813056379822,
                    "reference_value": 0.4156196268637564,
                    "unit": "share",
                    "contribution": 0.10939623664753838,
                },
                {
                    "name": "payment_to_balance_3",
                    "value": 0.15482502651113467,
                    "reference_value": 0.36421981285267196,
                    "unit": "share",
                    "contribution": 0.10022321837246241,
                },
                {
                    "name": "paid_in_full_months_6",
                    "value": 0.0,
                    "reference_value": 1.0,
                    "unit": "months",
                    "contribution": 0.06500057897815886,
                },
            ],
        },
    ],
    "model": {
        "name": "limit-reduction",
        "version": "1",
        "bundle": "dec4fe49fd1360f4f7b0e4ddece70dc70141d5ba1a1987bc9f945a3d0fd894d7",
        "reference": "7c5d0b2b0ec1072d7909ab46636694ec2f0f003a6bfd21f225f3d5fdac831ead",
        "policy": "2026-11.2",
    },
}
