"""The notice of a decision to the customer.

notice   what it is, and by when it has to be sent
subject  the account that it is about
parts    which texts it is put together from
form     those texts, put together, and the words of an account in them
"""

from serving.decision.notice.form import name_account
from serving.decision.notice.notice import LANGUAGES, Kind, Notice, has_notice, make_notice
from serving.decision.notice.subject import AlsoKnown, Subject

__all__ = [
    "LANGUAGES",
    "AlsoKnown",
    "Kind",
    "Notice",
    "Subject",
    "has_notice",
    "make_notice",
    "name_account",
]
