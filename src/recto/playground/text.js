// The bounds of a text and what makes two of them alike, which are the server's.

import { characters } from "./work.js";

export const MIN_LENGTH = 1000;
export const MAX_LENGTH = 10_000;
export const MAX_DECK_LENGTH = Number(document.documentElement.dataset.deckCharacters);

/** Whether a text of this length is made into cards section by section, as a deck. */
export const isForDeck = (length) => length > MAX_LENGTH && length <= MAX_DECK_LENGTH;

/** What a text of this length is cut to, if that is worth it: no more than a third is lost, or nothing else helps. */
export function worthCuttingTo(length) {
  if (length > MAX_DECK_LENGTH) return MAX_DECK_LENGTH;
  return length > MAX_LENGTH && length <= 1.5 * MAX_LENGTH ? MAX_LENGTH : null;
}

/**
 * What fronts have in common that ask the same: case and punctuation aside, much as the server compares them. Signs that
 * tell C from C#, or 5 from -5, stay.
 */
export function comparable(text) {
  const folded = text.normalize("NFKC").toLowerCase();
  const words = folded.replace(/(?![#%&*/@-])\p{P}|-(?!\d)|(?<=\w)-/gu, " ").trim().split(/\s+/).join(" ");
  return words || text;
}

/** The longest start of the text of at most so many characters, cut after a paragraph, else a sentence, else a word. */
export function shortened(text, most) {
  const head = [...text.trim()].slice(0, most).join("");
  const ends = [/[^]*\n(?=\s*\n)/, /[^]*[.!?…。！？]["”’»)]*(?=\s)/, /[^]*(?=\s)/];
  const cut = ends.map((end) => head.match(end)?.[0].trimEnd() ?? "");
  return cut.find((part) => characters(part) >= most * 0.8) ?? head;
}
