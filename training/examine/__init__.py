"""Replays what is served on accounts that no model saw: are the reasons stable and true, does the
advice come true?

``agreement`` needs only a labelled frame.  All else asks the simulator, which knows the causes:

    world -> cohort (whose limit is cut, with what reasons and what advice) -> validity, fidelity,
    durability, recourse world -> truth (what becomes of the accounts if nothing is done) ->
    ceiling, treatment

``futures`` gives the true probability of an account in any state, by living many futures.  Nothing
here is served.
"""
