"""Recto under load, next to a bare pass-through on the same machine: ``python -m bench`` from the project's root.

provider.py      stands in for OpenRouter: one fixed answer after a fixed delay
load.py          sends the requests, closed loop and open loop, and measures them
payload.py       the access tokens and source texts that it sends
loop.py          the event loop that it and the provider run on
passthrough.py   what Recto is compared with: Flask and requests, nothing else
targets.py       starts and stops everything that takes part
processes.py     CPU and memory of the processes that take part
stages.py        where the time of one request goes
jobs.py          what jobs cost
streams.py       what streams cost, and how soon a card is there
renders.py       what pictures cost
rows.py          what queries take in large tables, by itself: ``python -m bench.rows``
report.py        the figures as Markdown
__main__.py      the whole run
"""
