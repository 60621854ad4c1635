"""Do the stated reasons name the true causes?"""
