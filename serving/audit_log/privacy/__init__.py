"""The secrets, and what depends on them: encryption per data subject, MACs of API keys.

key_file        the file with the lender's secrets
record_secrets  which secrets an audit log belongs to
data_subjects   one key a data subject; deleting it erases the person
api_key_macs    which rows of API keys are genuine
near_accounts   other spellings of an unknown account
holds           what keeps a person from being erased yet
"""
