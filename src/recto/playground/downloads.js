// The accepted cards as files.

import { Failure, ankiDeck } from "./api.js";
import { isCloze } from "./cloze.js";
import { hideFailure } from "./failures.js";
import { csv, download } from "./files.js";
import { announce, count, element, hideNotice, notify, on } from "./page.js";
import { accepted, save, token, work } from "./work.js";

let page = null; // {fail}

const fileName = (ending) => `${work.deck.trim() || "Recto"}.${ending}`;

function hand(blob, cards, name) {
  download(blob, name);
  notify(`${count(cards, "card")} downloaded as ${name}.`);
}

function downloadCsv() {
  hideNotice(); // what is downloaded is decided
  hand(csv(accepted()), accepted().length, fileName("csv"));
}

async function downloadAnki() {
  if (element("anki").ariaBusy === "true") return;
  hideFailure();
  hideNotice();
  element("anki").ariaBusy = "true";
  announce("Building the Anki deck.");
  const cards = accepted().map(({ front, back, picture }) => ({
    front,
    back,
    style: isCloze(front) ? "cloze" : undefined,
    renderId: picture?.renderId,
  }));
  try {
    hand(await ankiDeck(token(), work.deck.trim() || "Recto", cards), cards.length, fileName("apkg"));
  } catch (error) {
    page.fail(error.code === "not_found" ? new Failure("picture_gone", error) : error, downloadAnki);
  } finally {
    element("anki").ariaBusy = "false";
  }
}

/** `actions`: {fail(error, onRetry)}. */
export function registerDownloads(actions) {
  page = actions;
  on("csv", "click", downloadCsv);
  on("anki", "click", downloadAnki);
  on("deck", "input", () => {
    work.deck = element("deck").value;
    save();
  });
}
