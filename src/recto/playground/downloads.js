// The accepted cards as files.

import { Failure, ankiDeck } from "./api.js";
import { isCloze } from "./cloze.js";
import { hideFailure } from "./failures.js";
import { csv, download } from "./files.js";
import { announce, element, hideNotice, on } from "./page.js";
import { accepted, save, token, work } from "./work.js";

let page = null; // {fail}

const fileName = (ending) => `${work.deck.trim() || "Recto"}.${ending}`;

function downloadCsv() {
  hideNotice(); // what is downloaded is decided
  download(csv(accepted()), fileName("csv"));
  announce("CSV downloaded.");
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
    download(await ankiDeck(token(), work.deck.trim() || "Recto", cards), fileName("apkg"));
    announce("Anki deck downloaded.");
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
