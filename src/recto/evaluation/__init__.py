"""How good are the rules, and the models? Labelled cards, and what is counted on them.

labelled.py    texts with good cards, each with the place of its answer; cards/ holds them
spoiling.py    the same cards made bad, each in one way
"""
