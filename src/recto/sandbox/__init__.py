"""The sandbox: a provider on loopback that speaks OpenRouter's and Replicate's protocols, without account or model.

It makes question/answer proposals by rule, of the request's own text or about its topic, and plays, on demand, every
failure of a real provider. It never stands in for a provider that failed, and it runs only where it was asked for.

    server.py       HTTP on 127.0.0.1: start()
    faults.py       every failure by name; spoilt.py has those of the model, hostile.py the attacks, scripts.py how
                    an answer that comes in steps is described
    forms.py        any cards, as models write them in place of the JSON that was asked for
    chat.py         the protocol: requests, answers, errors; streams.py sends answers as they are written and has
                    what goes wrong with that; generations.py remembers what became of each call, catalogue.py
                    lists models and prices, the key and the credits
    extractive.py   a text → proposals: its whole sentences (whole.py) give questions (grammar.py) and gaps (gaps.py);
                    languages.py and dates.py have the words for it
    invented.py     a topic → proposals
    replicate.py    Replicate's API and its faults; predictions.py is a prediction's life, picture.py draws
"""
