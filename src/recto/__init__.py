"""Recto turns a learner's source text into flashcard proposals.

    settings.py    Settings: frozen, validated at start; nothing else reads the environment
    errors.py      the error tree; each class carries its status and code
    runtime.py     what a process holds: settings, pool, provider client, token verifier
    tokens.py      a Supabase token → its user
    telemetry.py   log lines and metrics
    exports.py     cards → CSV, Anki
    cli.py         recto dev | migrate | worker | sandbox | token | generate
    dev.py         the whole service on one machine
    api/           doors: one blueprint a resource; a view parses, calls and responds
    jobs/          jobs: the same pipeline, run by a worker or for a session; the states are drawn there
    text/          core: source text → prompt → proposals, one pipeline for every door
    providers/     outside: clients that translate their own failures
    db/            memory: every SQL statement, the queue, the migrations, the embedded PostgreSQL
    sandbox/       a provider for development and tests that plays every failure
    playground/    the page

Imports run downwards only: cli, dev → api → jobs → runtime → db, tokens → telemetry → text → providers → errors,
settings.
"""
