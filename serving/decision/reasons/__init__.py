"""The reasons of a decision.

comparison  the accounts with which a customer is compared
ranking     the principal reasons, from contributions and rules
wording     a reason as a sentence, in both languages
"""
