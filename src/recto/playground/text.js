// The bounds of a text, which are the server's.

import { characters } from "./work.js";

export const MIN_LENGTH = 1000;
export const MAX_LENGTH = 10_000;

/** The longest start of the text that fits, cut after a paragraph, else a sentence, else a word. */
export function shortened(text) {
  const head = [...text.trim()].slice(0, MAX_LENGTH).join("");
  const ends = [/[^]*\n(?=\s*\n)/, /[^]*[.!?…。！？]["”’»)]*(?=\s)/, /[^]*(?=\s)/];
  const cut = ends.map((end) => head.match(end)?.[0].trimEnd() ?? "");
  return cut.find((part) => characters(part) >= MAX_LENGTH * 0.8) ?? head;
}
