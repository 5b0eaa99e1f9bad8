// A generation in the background, from the button to its cards. `work.job` is {key, source, options, deck} until the server
// has accepted it, {id, options, deck, known, last} from then on, `deck` its id if it is one, `options` as they were sent, `known` the number of cards that the
// table had already, `last` the event of the last card that came; a reload continues from there.

import {
  Failure,
  cancelGeneration,
  followGeneration,
  newKey,
  readGeneration,
  retryGeneration,
  startGeneration,
} from "./api.js";
import { explain } from "./failures.js";
import { announce, count, element, notify } from "./page.js";
import { addNew, announceArrived } from "./table.js";
import { save, token, work } from "./work.js";

const PAUSE_MS = 2000;
// The server, or a proxy before it, cannot be reached. The generation does not need this page, so it waits.
const AWAY = new Set(["network", "unexpected", "unavailable", "in_progress"]);
const FULL = new Set([...AWAY, "rate_limited"]); // too many streams of this user

let following = null; // the AbortController of the generation that is followed

export const isFollowing = () => Boolean(following);

/** Start a generation of {source, options, deck} and follow it. `page` is {begin, end, fail, changed}. */
export function start({ source, options, deck }, page) {
  work.job = { key: newKey(), source, options, deck };
  save();
  return follow(page);
}

/** Follow a generation {id, deck} that the server has. */
export function followKnown(known, page) {
  work.job = known;
  save();
  return follow(page);
}

/** Retry a failed generation {id, deck} in the background. */
export async function retry(known, page) {
  try {
    await retryGeneration(token(), known.id);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (error.code !== "in_progress") return page.fail(explain(error), error, () => retry(known, page));
  }
  return followKnown(known, page);
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
      const again = job.id ? () => follow(page) : () => start(job, page);
      page.fail(explain(error), error, again);
    }
  } finally {
    following = null;
    element("sections").hidden = true;
    page.end();
  }
}

async function waitForEnd(job, signal, page) {
  if (!job.id) {
    job.id = await untilReached(() => startGeneration(token(), job, signal), signal);
    delete job.source;
    save();
    page.changed();
  }
  const ended = await untilReached(() => showCards(job, signal), signal, FULL);
  const isToldMore = ended.status === "failed" || job.deck;
  const more = isToldMore && (await untilReached(() => readGeneration(token(), job.id), signal));
  clearJob(job);
  if (ended.status === "failed") fail(more, job, page);
  else if (ended.status === "canceled") notify("This generation was cancelled.");
  else announceArrived(tallyOf(job), { ...ended, ...more }, job.options);
  page.changed();
}

function tallyOf({ id, known }) {
  return { arrived: work.cards.filter(({ generation }) => generation === id).length, known };
}

/** Show the generation's cards as they come, those after `job.last` → how it has ended. */
function showCards(job, signal) {
  element("stage").textContent = job.last ? "Writing cards" : "Reading your text";
  const showSections = job.deck ? sectionsOf(job, signal) : () => {};
  const show = (card, event) => {
    job.last = event;
    if (element("sections").hidden) element("stage").textContent = "Writing cards";
    showSections();
    if (work.cards.some(({ id }) => id === card.id)) return;
    if (!addNew(card)) job.known = (job.known ?? 0) + 1;
    save();
  };
  showSections();
  return followGeneration(token(), job.id, { last: job.last, signal, show });
}

/** → a function that shows how many sections of a long text are done. It asks the server, once at a time. */
function sectionsOf(job, signal) {
  let isAsking = false;
  return async () => {
    if (isAsking) return;
    isAsking = true;
    try {
      const { sections, sections_done: done } = await readGeneration(token(), job.id);
      if (!sections || signal.aborted || work.job !== job) return;
      element("stage").textContent = `Writing cards: ${done} of ${count(sections, "section")} done`;
      Object.assign(element("sections"), { max: sections, value: done, hidden: false });
    } catch (error) {
      if (!(error instanceof Failure)) throw error; // else the next card brings it up to date
    } finally {
      isAsking = false;
    }
  };
}

function fail({ generation_id, error, retry_at }, { deck }, page) {
  const wait = retry_at ? Math.max(0, Math.ceil((Date.parse(retry_at) - Date.now()) / 1000)) : 0;
  const failure = new Failure(error.code, { message: error.message });
  page.fail({ ...explain(failure), again: Boolean(retry_at), wait }, failure, () => retry({ id: generation_id, deck }, page));
}

/** Cancel here and at the server, which then erases the text. */
export async function cancel(page) {
  const { job } = work;
  following?.abort();
  clearJob(job);
  try {
    // The server may have accepted it although its answer was lost: the same key returns its id.
    await cancelGeneration(token(), job.id ?? (await startGeneration(token(), job)));
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

/** Repeat `request` until it fails with none of the codes `passing`. */
async function untilReached(request, signal, passing = AWAY) {
  for (;;) {
    try {
      return await request();
    } catch (error) {
      if (!passing.has(error.code)) throw error;
      const text = "The server cannot be reached. Still trying";
      if (element("stage").textContent !== text) announce(text);
      element("stage").textContent = text;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      signal.throwIfAborted();
    }
  }
}
