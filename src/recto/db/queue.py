"""The queue: entries that tell a worker to start a job, written in the transaction that writes the job's row."""

from uuid import UUID

from procrastinate import App, SyncPsycopgConnector
from psycopg import Connection

QUEUE = "generations"
TASK = "run_generation"

# Never opened: each entry goes over a connection of ours.
_app = App(connector=SyncPsycopgConnector())


def enqueue(conn: Connection, job_id: UUID, *, delay_s: float = 0) -> int:
    """Queue the job for the workers, not before ``delay_s`` from now, and return the entry's id.

    ``conn`` acts as the service. The job's row names the entry; any other entry starts nothing.
    """
    task = _app.configure_task(
        TASK, queue=QUEUE, connection=conn, schedule_in={"seconds": delay_s} if delay_s else None
    )
    return task.defer(job_id=str(job_id))
