// A generation in the background, from the button to its cards. `work.job` is {key, source} until the server has
// accepted it, {id} from then on; a reload continues from there.

import {
  Failure,
  cancelGeneration,
  newKey,
  readGeneration,
  readSuggestions,
  retryGeneration,
  startGeneration,
} from "./api.js";
import { explain } from "./failures.js";
import { announce, element, notify } from "./page.js";
import { addCards } from "./table.js";
import { save, token, work } from "./work.js";

const PAUSE_MS = 2000;
// The server, or a proxy before it, cannot be reached. The generation does not need this page, so it waits.
const AWAY = new Set(["network", "unexpected", "unavailable", "internal_error", "in_progress"]);

const STAGES = {
  pending: ({ attempts }) => (attempts ? `Waiting to try again, after attempt ${attempts}` : "Waiting for its turn"),
  running: ({ attempts }) => (attempts > 1 ? `Reading your text, attempt ${attempts}` : "Reading your text"),
};

let following = null; // the AbortController of the generation that is followed

export const isFollowing = () => Boolean(following);

/** Start a generation and follow it. `page` is {begin, end, fail, changed}. */
export function start(source, page) {
  work.job = { key: newKey(), source };
  save();
  return follow(page);
}

/** Follow a generation that the server has. */
export function followKnown(id, page) {
  work.job = { id };
  save();
  return follow(page);
}

/** Retry a failed generation in the background. */
export async function retry(id, page) {
  try {
    await retryGeneration(token(), id);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (error.code !== "in_progress") return page.fail(explain(error), error, () => retry(id, page));
  }
  return followKnown(id, page);
}

/** Follow `work.job`, if there is one. */
export async function follow(page) {
  const { job } = work;
  if (!job || following) return;
  following = new AbortController();
  page.begin();
  try {
    await waitForEnd(job, following.signal, page);
  } catch (error) {
    if (error.name !== "AbortError") {
      if (!(error instanceof Failure)) throw error;
      if (!job.id || error.code === "not_found") clearJob(job);
      const again = job.id ? () => follow(page) : () => start(job.source, page);
      page.fail(explain(error), error, again);
    }
  } finally {
    following = null;
    page.end();
  }
}

async function waitForEnd(job, signal, page) {
  if (!job.id) {
    job.id = await untilReached(() => startGeneration(token(), job.source, job.key, signal), signal);
    delete job.source;
    save();
    page.changed();
  }
  for (let etag = ""; ; ) {
    const answer = await untilReached(() => readGeneration(token(), job.id, etag, signal), signal);
    if (!answer) continue; // nothing changed
    const { generation } = answer;
    etag = answer.etag;
    const stage = STAGES[generation.status];
    if (!stage) return finish(job, generation, signal, page);
    element("stage").textContent = stage(generation);
  }
}

async function finish(job, generation, signal, page) {
  if (generation.status === "succeeded") {
    const cards = await untilReached(() => readSuggestions(token(), job.id, signal), signal);
    clearJob(job);
    addCards(cards);
  } else {
    clearJob(job);
    if (generation.status === "canceled") notify("This generation was cancelled.");
    else fail(generation, page);
  }
  page.changed();
}

function fail({ generation_id, error, retry_at }, page) {
  const wait = retry_at ? Math.max(0, Math.ceil((Date.parse(retry_at) - Date.now()) / 1000)) : 0;
  const failure = new Failure(error.code, { message: error.message });
  page.fail({ ...explain(failure), again: Boolean(retry_at), wait }, failure, () => retry(generation_id, page));
}

/** Cancel here and at the server, which then erases the text. */
export async function cancel(page) {
  const { job } = work;
  following?.abort();
  clearJob(job);
  try {
    // The server may have accepted it although its answer was lost: the same key returns its id.
    await cancelGeneration(token(), job.id ?? (await startGeneration(token(), job.source, job.key)));
    notify("Cancelled. Your text is still here.");
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    notify("Cancelled here. The server could not be reached, and may finish it: see the past generations.");
  }
  page.changed();
}

function clearJob(job) {
  if (work.job === job) work.job = null;
  save();
}

/** Repeat `request` until the server can be reached. */
async function untilReached(request, signal) {
  for (;;) {
    try {
      return await request();
    } catch (error) {
      if (!AWAY.has(error.code)) throw error;
      const text = "The server cannot be reached. Still trying";
      if (element("stage").textContent !== text) announce(text);
      element("stage").textContent = text;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      signal.throwIfAborted();
    }
  }
}
