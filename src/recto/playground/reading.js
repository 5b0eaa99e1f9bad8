// The text beside its cards: which parts have cards, and which part the card in focus is made of. While it is shown, it
// stands in place of the field that it is written in.

import { announce, element, on } from "./page.js";
import { work } from "./work.js";

const SVG = "http://www.w3.org/2000/svg";

let isWriting = false; // the field is shown although there are cards
let focused = null; // the card whose part is lit,
let hovered = null; // unless the mouse has since moved to another
let parts = []; // {start, end, cards, mark, line} of the text, in order; what no card is made of is left out

/** Show the text with its cards' parts, or the field where there are no cards or it is written in. */
export function renderReading() {
  const isReading = work.cards.length > 0 && !isWriting;
  element("reading").hidden = !isReading;
  element("source").hidden = isReading;
  element("write").hidden = !work.cards.length;
  element("write").textContent = isReading ? "Edit text" : "Show cards in text";
  element("coverage").textContent = "";
  if (isReading) renderParts();
}

export function write(isNow) {
  isWriting = isNow;
  renderReading();
}

/** Show the text unless it is being written in. */
export function read() {
  if (document.activeElement !== element("source")) write(false);
}

export const focusText = () => element(element("source").hidden ? "passage" : "source").focus();

/** Light the card's part of the text, and bring it into view. */
export function light(card) {
  focused = card;
  hovered = null;
  showLit();
  const passage = element("passage");
  const mark = passage.querySelector(".is-lit");
  const top = mark?.offsetTop - passage.scrollTop;
  if (top < 0 || top + mark?.offsetHeight > passage.clientHeight) passage.scrollTop += top - passage.clientHeight / 3;
}

/** Move the focus to the card's part of the text, from where Enter leads to its cards. */
export function focusPart(card) {
  write(false);
  const part = parts.find(({ cards }) => cards.includes(card));
  if (part) part.mark.focus();
  else announce("The text does not have this sentence any more.");
}

/** Light the part of the card that the mouse is on; null when it has left. */
export function hover(card) {
  if (hovered === card) return;
  hovered = card;
  showLit();
}

function showLit() {
  const card = hovered ?? focused;
  for (const { cards, mark, line } of parts) {
    const isLit = !work.study && cards.includes(card); // to study, the answer is not shown
    for (const shown of [mark, line]) shown.classList.toggle("is-lit", isLit);
  }
  const stop = parts.find(({ cards }) => cards.includes(focused)) ?? parts[0];
  for (const part of parts) part.mark.tabIndex = part === stop ? 0 : -1; // Tab stops at one, arrows lead to the others
}

function renderParts() {
  const text = work.source.trim();
  const at = parts.find(({ mark }) => mark === document.activeElement)?.start;
  parts = partsOf(text);
  const written = parts.flatMap(({ start, mark }, index) => [text.slice(parts[index - 1]?.end ?? 0, start), mark]);
  element("passage").replaceChildren(...written, text.slice(parts.at(-1)?.end ?? 0));
  element("margin").setAttribute("viewBox", `0 0 1 ${text.length || 1}`);
  element("margin").replaceChildren(...parts.map(({ line }) => line));
  showLit();
  if (at !== undefined) (parts.find(({ end }) => end > at) ?? parts.at(-1))?.mark.focus();
  const covered = parts.filter(isKept).reduce((sum, { start, end }) => sum + end - start, 0);
  element("coverage").textContent = `${Math.round((100 * covered) / (text.length || 1))} % has cards`;
}

const isKept = ({ cards }) => cards.some((card) => card.decision !== "rejected");

function partsOf(text) {
  const units = unitsOf(text);
  const places = work.cards.map((card) => ({ card, ...placeOf(card, text, units) })).filter(({ end }) => end);
  const bounds = [...new Set(places.flatMap(({ start, end }) => [start, end]))].sort((a, b) => a - b);
  return bounds
    .slice(1)
    .map((end, index) => ({ start: bounds[index], end }))
    .map(({ start, end }) => ({
      start,
      end,
      cards: places.filter((place) => place.start <= start && end <= place.end).map(({ card }) => card),
    }))
    .filter(({ cards }) => cards.length)
    .map((part) => ({ ...part, mark: markOf(part, text), line: lineOf(part) }));
}

function markOf(part, text) {
  const mark = document.createElement("mark");
  mark.textContent = text.slice(part.start, part.end);
  mark.setAttribute("role", "link");
  mark.setAttribute("aria-description", part.cards.map(({ folio }) => `card ${folio}`).join(", "));
  mark.classList.toggle("is-kept", isKept(part));
  return mark;
}

function lineOf(part) {
  const line = document.createElementNS(SVG, "rect");
  const { start: y, end } = part;
  for (const [name, value] of Object.entries({ width: 1, y, height: end - y })) line.setAttribute(name, value);
  line.classList.toggle("is-kept", isKept(part));
  return line;
}

/** The place of each code point among the text's UTF-16 units, and of the text's end. */
function unitsOf(text) {
  const units = [0];
  for (const character of text) units.push(units.at(-1) + character.length);
  return units;
}

/** Where the card's quote stands in the text, in UTF-16 units; null if the text does not have it (any more). */
function placeOf({ quote, start, end }, text, units) {
  if (!quote) return null;
  const first = text.slice(units[start], units[end]) === quote ? units[start] : text.indexOf(quote);
  return first < 0 ? null : { start: first, end: first + quote.length };
}

/**
 * `select(card)` is called for a click or Enter on a part, with each of its cards in turn; `point(cards)` when the mouse
 * or the focus is on it.
 */
export function registerReading({ select, point }) {
  const cardsAt = (target) => parts.find(({ mark }) => mark === target)?.cards ?? [];
  const selectAt = (target) => {
    const cards = cardsAt(target);
    if (cards.length) select(cards[(cards.indexOf(focused) + 1) % cards.length]);
  };
  on("passage", "click", ({ target }) => getSelection().isCollapsed && selectAt(target));
  on("passage", "keydown", (event) => {
    const at = parts.findIndex(({ mark }) => mark === event.target);
    const to = { ArrowUp: at - 1, ArrowLeft: at - 1, ArrowDown: at + 1, ArrowRight: at + 1, Home: 0, End: parts.length - 1 }[event.key];
    if (at < 0 || (to === undefined && event.key !== "Enter")) return; // on the text itself, arrows scroll
    event.preventDefault();
    if (event.key === "Enter") selectAt(event.target);
    else parts[to]?.mark.focus();
  });
  on("passage", "focusin", ({ target }) => point(cardsAt(target)));
  on("passage", "focusout", () => point([]));
  on("passage", "mouseover", ({ target }) => point(cardsAt(target)));
  on("passage", "mouseleave", () => point([]));
  on("write", "click", () => {
    write(!isWriting);
    if (isWriting) focusText();
  });
}
