// The fields under “Options”: what the cards shall be like. `work.options` holds them as they are written.

import { element } from "./page.js";
import { isForDeck } from "./text.js";
import { save, work } from "./work.js";

const FIELDS = ["count", "language", "focus", "style"];
const TAGS =
  "ar bg bn ca cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv nl no pl pt pt-BR ro ru sk sl sr sv sw th tr uk ur vi zh";
const PROBLEMS = {
  count: ({ max }) => `A whole number from 1 to ${max}.`,
  language: () => "Choose one of the list, or write its tag, such as pl or pt-BR.",
  focus: ({ maxLength }) => `One line of at most ${maxLength} characters.`,
  style: () => "This server does not make them.",
};

const { mostCards, deckCards } = document.documentElement.dataset;
const CARDS_A_CHARACTER = 1.5 / 1000; // of a long text, if their number is left open

const input = (name) => element(`option-${name}`);
const problem = (name) => element(`problem-${name}`);
const names = new Intl.DisplayNames("en", { type: "language", fallback: "code" });
const tags = new Map(TAGS.split(" ").map((tag) => [names.of(tag).toLowerCase(), tag]));

/** A language's tag → its name in English, or what was given if it is none. */
export function languageName(tag) {
  try {
    return names.of(tag);
  } catch {
    return tag; // not even the form of a tag
  }
}

/** How many cards a deck of a text of this length gets if that is left open. */
export const deckCount = (length) => Math.min(deckCards, Math.ceil(length * CARDS_A_CHARACTER));

/** Let “How many cards” say what a text of this length may have. */
export function boundCount(length) {
  const isDeck = isForDeck(length);
  input("count").max = isDeck ? deckCards : mostCards;
  input("count").placeholder = isDeck ? deckCount(length) : "all that it has";
}

/** → {count, language, focus, style}, without those that are not set: what a request for cards says of them. */
export function chosenOptions() {
  const { count, language, focus, style } = work.options;
  const tag = tags.get(language.trim().toLowerCase()) ?? language.trim();
  const given = { count: count === "" ? "" : Number(count), language: tag, focus: focus.trim(), style };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== ""));
}

export function renderOptions() {
  for (const name of FIELDS) input(name).value = work.options[name];
  hideProblems();
  summarise();
}

/** What is set, beside the word “Options”, so that it is seen while they are closed. */
function summarise() {
  const { count, language, focus, style } = chosenOptions();
  const parts = [
    count !== undefined && `${count} cards`,
    language && languageName(language),
    focus && `“${focus}”`,
    style,
  ];
  element("chosen").textContent = parts.filter(Boolean).join(", ");
}

export function hideProblems() {
  for (const name of FIELDS) hideProblem(name);
}

function hideProblem(name) {
  problem(name).textContent = "";
  input(name).removeAttribute("aria-invalid");
}

/** Show what the server refuses at its fields, and move to the first → whether that is all that it says. */
export function showProblems(message) {
  const refused = message.split("; ").map((sentence) => sentence.match(/^\w+/)?.[0]);
  if (!refused.every((name) => FIELDS.includes(name))) return false;
  element("options").open = true;
  for (const name of refused) {
    problem(name).textContent = PROBLEMS[name](input(name));
    input(name).ariaInvalid = "true";
  }
  input(refused[0]).focus();
  return true;
}

element("languages").append(...[...tags.values()].map((tag) => new Option(names.of(tag))));
for (const name of FIELDS) {
  input(name).addEventListener("input", () => {
    work.options[name] = input(name).value;
    hideProblem(name);
    summarise();
    save();
  });
}
