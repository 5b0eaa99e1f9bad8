// A generation in the background, from the button to its cards. What is known of it lives in `work.job`:
// {key, source} until the server has accepted it, {id} from then on. A reload goes on from there.

import { Failure, cancelGeneration, readGeneration, readSuggestions, retryGeneration, startGeneration } from "./api.js";
import { explain } from "./failures.js";
import { announce, at, notify } from "./page.js";
import { addCards } from "./table.js";
import { save, token, work } from "./work.js";

const PAUSE_MS = 2000;
// The server is away, or something before it: the generation goes on without us, so we only wait.
const AWAY = new Set(["network", "unexpected", "unavailable", "internal_error", "in_progress"]);

const STAGES = {
  pending: ({ attempts }) => (attempts ? `Waiting to try again, after attempt ${attempts}` : "Waiting for its turn"),
  running: ({ attempts }) => (attempts > 1 ? `Reading your text, attempt ${attempts}` : "Reading your text"),
};

let following = null; // the AbortController of the generation that is followed

export const isFollowing = () => Boolean(following);

function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Have the text worked on and follow it. `page` is {begin, end, fail, changed}. */
export function start(source, page) {
  work.job = { key: newKey(), source };
  save();
  return follow(page);
}

/** Follow one that the server has already. */
export function followKnown(id, page) {
  work.job = { id };
  save();
  return follow(page);
}

/** Have a failed one tried again, in the background. */
export async function retry(id, page) {
  try {
    await retryGeneration(token(), id);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (error.code !== "in_progress") return page.fail(explain(error), error, () => retry(id, page));
  }
  return followKnown(id, page);
}

/** Go on with what a reload has interrupted. */
export async function follow(page) {
  const { job } = work;
  if (!job || following) return;
  following = new AbortController();
  page.begin();
  try {
    await ended(job, following.signal, page);
  } catch (error) {
    if (error.name !== "AbortError") {
      if (!(error instanceof Failure)) throw error;
      if (!job.id || error.code === "not_found") forget(job);
      const again = job.id ? () => follow(page) : () => start(job.source, page);
      page.fail(explain(error), error, again);
    }
  } finally {
    following = null;
    page.end();
  }
}

async function ended(job, signal, page) {
  if (!job.id) {
    job.id = await patiently(() => startGeneration(token(), job.source, job.key, signal), signal);
    delete job.source;
    save();
    page.changed();
  }
  for (let etag = ""; ; ) {
    const told = await patiently(() => readGeneration(token(), job.id, etag, signal), signal);
    if (!told) continue; // nothing new
    const { generation } = told;
    etag = told.etag;
    const stage = STAGES[generation.status];
    if (!stage) return finish(job, generation, signal, page);
    at("stage").textContent = stage(generation);
  }
}

async function finish(job, generation, signal, page) {
  if (generation.status === "succeeded") {
    const cards = await patiently(() => readSuggestions(token(), job.id, signal), signal);
    forget(job);
    addCards(cards);
  } else {
    forget(job);
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

/** Cancel it at the server too, which then erases its text. */
export async function cancel(page) {
  const { job } = work;
  following?.abort();
  forget(job);
  try {
    // It may have been accepted without our having heard of it: its key finds it.
    await cancelGeneration(token(), job.id ?? (await startGeneration(token(), job.source, job.key)));
    notify("Cancelled. Your text is still here.");
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    notify("Cancelled here. The server could not be told, and may finish it: see the past generations.");
  }
  page.changed();
}

function forget(job) {
  if (work.job === job) work.job = null;
  save();
}

/** Ask until the server is there. */
async function patiently(ask, signal) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!AWAY.has(error.code)) throw error;
      const text = "The server cannot be reached. Still trying";
      if (at("stage").textContent !== text) announce(text);
      at("stage").textContent = text;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      signal.throwIfAborted();
    }
  }
}
