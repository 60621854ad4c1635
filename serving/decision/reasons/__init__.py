"""The reasons of a decision.

comparison  the accounts with which a customer is compared
ranking     the principal reasons, from contributions and rules
amounts     the amounts that sentences state, evaluated when a sentence needs them
sentence    a reason as a sentence, in both languages
case        which of a feature's texts apply to an account
words       what is written in the places of a text
wording     numbers and dates as a customer reads them
vector      every feature of the model, with its reference and its contribution
"""
