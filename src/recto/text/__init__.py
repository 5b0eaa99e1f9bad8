"""The core: a source text becomes flashcard proposals. Pure: no Flask, no SQL, no queue."""
