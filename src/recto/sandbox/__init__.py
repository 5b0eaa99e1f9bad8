"""The sandbox: a provider on loopback that speaks OpenRouter's protocol and needs no account and no model.

It makes question/answer proposals by rule, of the request's own text or about its topic, and plays, on demand, every
failure of a real provider. It never stands in for a provider that failed, and it runs only where it was asked for.

    server.py       HTTP on 127.0.0.1: start(), serve_forever()
    faults.py       every failure by name, and how it is played; spoilt.py has the model's own
    chat.py         the protocol: requests, answers, errors
    extractive.py   a text → proposals; sentences.py and grammar.py are its two halves
    invented.py     a topic → proposals
"""
