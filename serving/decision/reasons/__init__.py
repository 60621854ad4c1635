"""The reasons of a decision.

comparison  the accounts with which a customer is compared
ranking     the principal reasons, from contributions and rules
amounts     the amounts that sentences state, evaluated when a sentence needs them
wording     a reason as a sentence, in both languages
vector      every feature of the model, with its reference and its contribution
"""
