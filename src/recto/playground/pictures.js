// Pictures of cards, made one after the other: the server makes one at a time for each user. `card.picture` is
// {key, front, back} until the server has taken it, with its `id` from then on, and {id, renderId, url} once it is
// there; `stage` says what happens, `failure` what went wrong. A reload continues from there.

import { Failure, cancelPicture, deletePicture, newKey, readPicture, startPicture } from "./api.js";
import { explain, explainPicture, showFailure } from "./failures.js";
import { announce } from "./page.js";
import { save, token, work } from "./work.js";

export const areOn = "pictures" in document.documentElement.dataset;

const PAUSE_MS = 1000; // between two looks that the server answers at once
const ENDED = new Set(["upstream_error", "not_found", "canceled"]); // asked for again, it is another picture

const views = new WeakMap(); // card → a function that shows its picture as it is now
let making = null; // {picture, controller}

export const watch = (card, show) => views.set(card, show);

/** Have a picture made of the card, once those before it are there. */
export function illustrate(card) {
  card.picture = { key: newKey(), front: card.front, back: card.back };
  enter(card, "Waiting for its turn");
  makeAll();
}

export function tryAgain(card) {
  const { failure, ...picture } = card.picture;
  if (failure.ended) return illustrate(card);
  card.picture = picture;
  enter(card, "Waiting for its turn");
  makeAll();
}

/** Take the picture off the card: stop it, erase it, or forget that it failed. */
export function remove(card) {
  const { picture } = card;
  card.picture = null;
  if (making?.picture === picture) making.controller.abort();
  else if (picture.renderId) deletePicture(token(), picture.id).catch(ignoreFailure);
  changed(card, picture.renderId ? "picture removed" : picture.failure ? "" : "picture cancelled");
}

/** Make all that are waited for; the one that the server has is first. */
export async function makeAll() {
  if (making) return;
  for (let card; (card = next()); ) {
    const { picture } = card;
    const controller = new AbortController();
    making = { picture, controller };
    try {
      await make(card, picture, controller.signal);
    } catch (error) {
      if (error.name === "AbortError") await takeBack(picture);
      else fail(card, picture, error);
    } finally {
      making = null;
    }
  }
}

function next() {
  const waiting = work.cards.filter(({ picture }) => picture && !picture.renderId && !picture.failure);
  return waiting.find(({ picture }) => picture.id) ?? waiting[0];
}

async function make(card, picture, signal) {
  enter(card, "Drawing a picture");
  if (!picture.id) picture.id = await start(card, picture, signal);
  save();
  for (;;) {
    const { status, variants } = await readPicture(token(), picture.id, signal);
    if (status === "succeeded") {
      const [{ renderId, thumbUrl: url }] = variants;
      card.picture = { id: picture.id, renderId, url };
      return changed(card, "a picture is on its back");
    }
    if (status === "failed") throw new Failure("upstream_error");
    if (status === "canceled") throw new Failure("canceled");
    await pause(PAUSE_MS, signal);
  }
}

/** The id of the picture's generation; the server's limit is waited for. */
async function start(card, picture, signal) {
  for (;;) {
    try {
      picture.isSent = true;
      return await startPicture(token(), picture, signal);
    } catch (error) {
      if (error.code !== "rate_limited" || !(error.retryAfter > 0)) throw error;
      picture.isSent = false;
      const goesOn = new Date(Date.now() + error.retryAfter * 1000).toLocaleTimeString(undefined, { timeStyle: "short" });
      enter(card, `This server’s limit is reached. Goes on at ${goesOn}`);
      await pause(error.retryAfter * 1000, signal);
      enter(card, "Drawing a picture");
    }
  }
}

/** Cancel what the server may have been sent: the same key tells which it is. */
async function takeBack(picture) {
  if (!picture.id && !picture.isSent) return;
  try {
    await cancelPicture(token(), picture.id ?? (await startPicture(token(), picture)));
  } catch (error) {
    ignoreFailure(error); // it ends by itself, and the next one says so if it has to wait
  }
}

function fail(card, picture, error) {
  if (!(error instanceof Failure)) throw error;
  const known = error.code === "not_found" && !picture.id ? new Failure("pictures_off") : error;
  const failure = { ...explainPicture(known), ended: ENDED.has(error.code) };
  card.picture = { ...picture, failure };
  changed(card, failure.text);
  if (failure.needsToken) showFailure(explain(error), () => card.picture?.failure && tryAgain(card));
}

function ignoreFailure(error) {
  if (!(error instanceof Failure)) throw error;
}

function enter(card, stage) {
  card.picture.stage = stage;
  changed(card, stage);
}

/** Show and keep what has changed, and say it. */
function changed(card, text) {
  save();
  views.get(card)?.();
  if (text) announce(`Card ${card.folio}: ${text}.`.replace(/\.\.$/, "."));
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)));
  });
}
