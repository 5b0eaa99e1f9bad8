"""Recto turns a learner's source text into flashcard proposals.

    settings.py          Settings: frozen, validated at start; nothing else reads the environment
    calls.py             a call to a provider: how it ended and what it took
    times.py             how long things may take, and how the times nest
    errors.py            the error tree; each class carries its status and code
    runtime.py           what a process holds: settings, pool, provider client, token verifier
    tokens.py            a Supabase token → its user
    telemetry.py         log lines and metrics
    exports.py           cards → CSV, Anki
    documents/           PDF, EPUB, DOCX, HTML → text, in a child process
    reports.py           statistics → a table in a terminal
    results.py           cards of `recto generate` → JSON, CSV, Anki
    progress.py          how far something is, on a terminal
    cli.py               recto dev | migrate | serve | worker | forget | prune | stats | eval | sandbox | token | …
    generate_command.py  recto generate: a file → cards, without a server
    root.py              where sql/, wsgi.py and gunicorn.conf.py are, and how gunicorn is called
    dev.py               the whole service on one machine
    api/                 doors: one blueprint a resource; a view parses, calls and responds
    jobs/                jobs: the same pipeline, run by a worker or for a caller who waits
    text/                core: source text → prompt → proposals, one pipeline for every door; their places in the text
    images/              core: what a picture is asked with, and how one from outside is read
    providers/           outside: clients that translate their own failures
    storage/             outside: pictures' files, in a folder or in S3
    db/                  memory: every SQL statement, the migrations, the embedded PostgreSQL
    evaluation/          what `recto eval` measures: the rules on labelled cards, public sets, models
    sandbox/             a provider for development and tests that plays every failure
    playground/          the page

Imports run downwards only: cli → dev, generate_command, reports → results → api → jobs, evaluation → runtime → db,
tokens → telemetry → text → providers → times → errors, settings → calls, root.

How a request and a job go through them, and what each table says: docs/architecture.md.
"""
