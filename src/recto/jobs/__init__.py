"""Jobs: generations that outlive the request that asked for them, through the one pipeline.

Five ideas: a *job* is a row, and the only truth; an *attempt* is one run of it, with a row for each call to a provider;
a *lease* says who runs it, until when; a *wake-up* makes workers look at the rows, and does no harm when it is lost or
comes twice; an *outcome* is how an attempt ended.

``run`` runs one attempt, in whatever process; ``worker`` is the process that does nothing else; ``synchronous`` is for
callers who wait and whose proposals are not kept; ``outcomes`` are how an attempt ends. The states of a job, its
moves and its tables are drawn in docs/architecture.md.
"""
