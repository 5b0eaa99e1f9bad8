// Text files in, downloads out.

import { MAX_DECK_LENGTH } from "./text.js";

const LARGEST = 4 * MAX_DECK_LENGTH; // bytes: what the longest text may have in UTF-8

/** File → {text} or {title, advice}. */
export async function readText(file) {
  const refuse = (title, advice) => ({ title, advice });
  if (!/\.(txt|md|markdown|text)$/i.test(file.name) && !/^text\/(plain|markdown)$/.test(file.type)) {
    return refuse(`“${file.name}” is not a text file.`, "Open a .txt or .md file, or copy the text and paste it here.");
  }
  if (file.size > LARGEST) {
    return refuse(
      `“${file.name}” is too large.`,
      `A file may have ${Math.floor(LARGEST / 1024)} KB; this one has ${Math.ceil(file.size / 1024)} KB. Copy one chapter of it and paste it here.`,
    );
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    if (!text.includes("\0")) return { text };
  } catch {
    // not UTF-8: the same answer as for a NUL character
  }
  return refuse(`“${file.name}” does not hold plain text.`, "Save it as plain text in UTF-8, or copy the text and paste it here.");
}

// A spreadsheet runs a cell that begins like this (OWASP, "CSV Injection"); the apostrophe makes it text.
const FORMULA = /^(\s*[=+\-@＝＋－＠]|[\t\r\n])/;

const cell = (text) => `"${(FORMULA.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;

// A byte order mark for Excel, and the lines by which Anki reads a CSV, as in recto/exports.py.
const HEAD = "\ufeff#separator:Comma\r\n#html:false\r\n#columns:Front,Back\r\n";

/** [{front, back}] → CSV after RFC 4180, every cell quoted. */
export function csv(cards) {
  const lines = cards.map(({ front, back }) => `${cell(front)},${cell(back)}\r\n`);
  return new Blob([HEAD, ...lines], { type: "text/csv;charset=utf-8" });
}

export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // some browsers read it only after the click
}
