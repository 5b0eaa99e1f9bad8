// The bounds of a text and what makes two of them alike, which are the server's.

import { characters } from "./work.js";

export const MIN_LENGTH = 1000;
export const MAX_LENGTH = 10_000;

/**
 * What fronts have in common that ask the same: case and punctuation aside, much as the server compares them. Signs that
 * tell C from C#, or 5 from -5, stay.
 */
export function comparable(text) {
  const folded = text.normalize("NFKC").toLowerCase();
  const words = folded.replace(/(?![#%&*/@-])\p{P}|-(?!\d)|(?<=\w)-/gu, " ").trim().split(/\s+/).join(" ");
  return words || text;
}

/** The longest start of the text that fits, cut after a paragraph, else a sentence, else a word. */
export function shortened(text) {
  const head = [...text.trim()].slice(0, MAX_LENGTH).join("");
  const ends = [/[^]*\n(?=\s*\n)/, /[^]*[.!?…。！？]["”’»)]*(?=\s)/, /[^]*(?=\s)/];
  const cut = ends.map((end) => head.match(end)?.[0].trimEnd() ?? "");
  return cut.find((part) => characters(part) >= MAX_LENGTH * 0.8) ?? head;
}
