"""Encryption per data subject.

key_file    the file with the lender's secrets
persons     one key a data subject; deleting it erases the person
"""
