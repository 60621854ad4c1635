"""A request and the answer that it got, as OpenAPI and the documentation show them; a test holds them to the models."""

from __future__ import annotations

from typing import Any

_COLUMNS = (
    "month", "credit_limit", "balance", "spend", "cash_advance", "payment", "minimum_due", "days_past_due",
    "limit_requests", "credit_inquiries", "external_debt", "income",
)  # fmt: skip
_ROWS = (
    ("2026-05", 30000.0, 9200.0, 2100.0, 0.0, 1500.0, 920.0, 0, 0, 0, 31000.0, 8200.0),
    ("2026-06", 30000.0, 11050.0, 2600.0, 0.0, 950.0, 1105.0, 0, 0, 1, 34500.0, 8200.0),
    ("2026-07", 30000.0, 13900.0, 2400.0, 1500.0, 1200.0, 1390.0, 0, 1, 1, 39000.0, 8200.0),
    ("2026-08", 30000.0, 15800.0, 1900.0, 1000.0, 1150.0, 1580.0, 12, 0, 2, 44000.0, None),
    ("2026-09", 30000.0, 17450.0, 1800.0, 1200.0, 1500.0, 1745.0, 0, 1, 1, 47500.0, None),
    ("2026-10", 30000.0, 18600.0, 1700.0, 900.0, 1650.0, 1860.0, 9, 0, 2, 52000.0, None),
)

REQUEST: dict[str, Any] = {
    "account_id": "A-1027",
    "product": "pay_later",
    "currency": "CNY",
    "statements": [dict(zip(_COLUMNS, row, strict=True)) for row in _ROWS],
}

ANSWER: dict[str, Any] = {
    "decision_id": "01a1c4af-86fb-8f66-9734-501f49ced692",
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
    "probability": 0.4232386143393144,
    "log_odds": -0.3094925178319482,
    "base_log_odds": -2.1174895133345,
    "cut_off": 0.12790697674418605,
    "reasons": [
        {
            "rank": 1,
            "code": "late_payment",
            "cause": "behavior",
            "share": 0.4200563460301285,
            "contribution": 0.8122596557087645,
            "text": {"en": "You paid late in 2 of the last 6 months.", "zh": "近6个月中有2个月逾期还款。"},
            "features": [
                {
                    "name": "late_months_6",
                    "value": 2.0,
                    "reference_value": 0.0,
                    "unit": "months",
                    "contribution": 0.6716949933381701,
                },
                {
                    "name": "worst_days_past_due_6",
                    "value": 12.0,
                    "reference_value": 0.0,
                    "unit": "days",
                    "contribution": 0.14937894578741767,
                },
                {
                    "name": "late_months_3",
                    "value": 2.0,
                    "reference_value": 0.0,
                    "unit": "months",
                    "contribution": 0.029086263346641335,
                },
            ],
        },
        {
            "rank": 2,
            "code": "high_utilization",
            "cause": "risk",
            "share": 0.37516937211434825,
            "contribution": 0.7254620669490297,
            "text": {
                "en": "Over the last 3 months you used 58 % of your limit on average; accounts that keep theirs use 28 %.",
                "zh": "近3个月您平均使用额度的58%；保留额度的账户为28%。",
            },
            "features": [
                {
                    "name": "utilization_mean_3",
                    "value": 0.5761111111111111,
                    "reference_value": 0.2757968253968254,
                    "unit": "share",
                    "contribution": 0.7996066541762683,
                },
                {
                    "name": "utilization_mean_6",
                    "value": 0.4777777777777777,
                    "reference_value": 0.26452904411764705,
                    "unit": "share",
                    "contribution": 0.04320473535612761,
                },
                {
                    "name": "utilization_rise_6",
                    "value": None,
                    "reference_value": -0.023261274000583594,
                    "unit": "share",
                    "contribution": 0.02601781119367728,
                },
            ],
        },
        {
            "rank": 3,
            "code": "weak_repayment",
            "cause": "behavior",
            "share": 0.1049851037571057,
            "contribution": 0.20300887021042466,
            "text": {
                "en": "You paid 9 % of your last balance; accounts that keep their limit pay 33 %.",
                "zh": "您偿还了上期账单的9%；保留额度的账户为33%。",
            },
            "features": [
                {
                    "name": "payment_to_balance_now",
                    "value": 0.09455587392550144,
                    "reference_value": 0.33170002575363033,
                    "unit": "share",
                    "contribution": 0.08465721604868046,
                },
                {
                    "name": "repaid_spending_3",
                    "value": 1433.3333333333333,
                    "reference_value": 1700.4866666666667,
                    "unit": "CNY",
                    "contribution": 0.06352418249482002,
                },
                {
                    "name": "repaid_spending_6",
                    "value": 1325.0,
                    "reference_value": 1813.5883333333331,
                    "unit": "CNY",
                    "contribution": 0.055152318233593414,
                },
            ],
        },
        {
            "rank": 4,
            "code": "cash_reliance",
            "cause": "behavior",
            "share": 0.052995108164562314,
            "contribution": 0.10247622424661254,
            "text": {
                "en": "The cash you drew in the last 6 months is 9 % of your income; accounts that keep their limit: 2 %.",
                "zh": "近6个月月均取现为收入的9%；保留额度的账户为2%。",
            },
            "features": [
                {
                    "name": "cash_to_income_6",
                    "value": 0.09349593495934959,
                    "reference_value": 0.016248001461787946,
                    "unit": "share",
                    "contribution": 0.1003472371323686,
                },
                {
                    "name": "cash_to_limit_6",
                    "value": 0.15333333333333332,
                    "reference_value": 0.04769518348623854,
                    "unit": "share",
                    "contribution": 0.0039007882060391776,
                },
                {
                    "name": "cash_months_3",
                    "value": 3.0,
                    "reference_value": 3.0,
                    "unit": "months",
                    "contribution": 6.03078087473717e-05,
                },
            ],
        },
    ],
    "model": {
        "name": "limit-reduction",
        "version": "1",
        "bundle": "d51d494cd62946c2f69833835533e3c98bb8dcdac215067b8a3301fe859349d4",
        "reference": "48ed65acf6760e9e0f1ed9d881a7cbc983ab4f915e1d4e2f46d5c16b6971fc4e",
        "policy": "2026-11.1",
    },
}
