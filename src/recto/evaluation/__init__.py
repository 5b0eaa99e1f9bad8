"""How good are the rules, and the models? What `recto eval` counts.

labelled.py    texts with good cards, each with the place of its answer; cards/ holds them
spoiling.py    the same cards made bad, each in one way
rules.py       how good the rules that drop a card and the test for support are on both
recovery.py    what is read of them from answers in each form in which models spoil them
offline.py     all of that: what needs neither files nor a provider
public.py      grounding on SQuAD and QGEval
models.py      models asked about the same texts, within a budget; scores.py is what they are worth
tables.py      all of it as tables
command.py     the command
"""


class EvaluationError(Exception):
    """What an evaluation cannot begin with; the text is one line."""
