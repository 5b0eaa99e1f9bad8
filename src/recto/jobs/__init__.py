"""Jobs: generations that are run apart from the request that asked for them, through the one pipeline.

                     ┌────────────── a passing failure, a stopping worker ──────────────┐
                     ▼                                                                  │
    ─ asked for ▶ pending ── a worker claims it ──▶ running ── results committed ──▶ succeeded
                     │                               │   └── attempts used up ─────▶ failed ── the user retries ─┐
                     └──────── the user cancels ─────┴─────────────────────────────▶ canceled                    │
                     ▲                                                                                           │
                     └───────────────────────────────────────────────────────────────────────────────────────────┘

``run`` runs one attempt, in whatever process; ``worker`` is the process that does nothing else; ``upkeep`` is what the
workers do from time to time.
"""
