"""How good are the rules, and the models? Labelled cards, and what is counted on them.

labelled.py    texts with good cards, each with the place of its answer; cards/ holds them
spoiling.py    the same cards made bad, each in one way
rules.py       how good the rules that drop a card and the test for support are on both
recovery.py    what is read of them from answers in each form in which models spoil them
offline.py     all of that
tables.py      laid out as tables
"""
