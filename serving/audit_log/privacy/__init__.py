"""Encryption per data subject.

key_file        the file with the lender's secrets
data_subjects   one key a data subject; deleting it erases the person
"""
