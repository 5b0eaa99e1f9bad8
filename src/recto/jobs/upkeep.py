"""What the workers do from time to time, one of them each time."""

from asyncio import to_thread

from procrastinate.manager import JobManager

from recto.db import upkeep
from recto.providers import webhook
from recto.runtime import WorkerRuntime
from recto.telemetry import log

OFTEN = "* * * * * */10"  # cron, with seconds last
SELDOM = "*/10 * * * *"
HEARTBEAT_S = 5.0
# A worker that was not heard of for so long is taken for dead: a killed one's jobs run again within a minute.
DEAD_AFTER_S = 20.0


async def take_up(runtime: WorkerRuntime, queue: JobManager) -> None:
    """Put back in the queue, or fail, what a process that died has left behind."""
    stalled = list(await queue.get_stalled_jobs(seconds_since_heartbeat=DEAD_AFTER_S))
    for entry in stalled:
        await queue.retry_job(entry)
    orphans = await to_thread(upkeep.requeue_orphans, runtime.pool)
    lost = await to_thread(upkeep.fail_lost, runtime.pool)
    if stalled or orphans or lost:
        log.warning("jobs_taken_up", stalled=len(stalled), orphans=orphans, lost=lost)


def erase(runtime: WorkerRuntime) -> None:
    """Erase what is needed no more."""
    upkeep.erase(runtime.pool, retry_window=runtime.settings.retry_window, retention=runtime.settings.retention)


def alert(runtime: WorkerRuntime) -> None:
    """Tell ALERT_WEBHOOK_URL of generations that failed for good, at most once a minute."""
    url = runtime.settings.alert_webhook_url
    due = upkeep.due_alert(runtime.pool) if url else None
    if url is None or due is None:
        return
    total = sum(due.failures.values())
    by_code = ", ".join(f"{count} × {code}" for code, count in due.failures.items())
    text = f"Recto: {total} generation{'s' if total != 1 else ''} failed for good: {by_code}."
    try:
        webhook.send(url.get_secret_value(), text)
    except webhook.WebhookError as error:
        log.warning("alert_not_sent", reason=str(error))
    else:
        upkeep.alert_arrived(runtime.pool, due)
