// What the page says of an answer that is not all that was asked for.

import { Failure } from "./api.js";
import { explain } from "./failures.js";
import { languageName } from "./options.js";
import { count, number } from "./page.js";

const INCOMPLETE = {
  max_tokens: "The model reached the longest answer that it may give.",
  content_filter: "The provider’s content filter ended the answer.",
  model_stopped: "The model found no more.",
  network: "The connection broke off.",
};

const MOST_TITLES = 3; // that are told

// The reasons of the API, for so many cards. What is not here is told as “unusable”.
const DROPPED = {
  incomplete: "cut off",
  too_long: "too long",
  no_gap: "without a gap",
  front_is_back: "with two equal sides",
  leak: "with the answer in the question",
  known: "asked before",
  duplicate: "said twice",
  surplus: "more than wanted",
  other_language: "in another language",
};

// Languages that the server takes for one, by its name for them: it tells them by few sentences.
const ALIKE = { bs: "hr", sr: "hr", ms: "id", nb: "no", nn: "no", cmn: "zh", yue: "zh", wuu: "zh", iw: "he", in: "id", fil: "tl" };
const spoken = (tag) => ((primary) => ALIKE[primary] ?? primary)(tag.split("-")[0].toLowerCase());

/**
 * Why there are not the cards that were asked for: sentences, "" if there are. `arrived` counts the new ones, `known` those
 * that were on the table already; `answer` has the API's `incomplete` (or the code of what ended a stream of cards) and
 * `language`, and of a deck `sections` and `sections_without_cards`, `asked` the options that were sent.
 */
export function explainShortfall({ arrived, known = 0 }, answer, asked) {
  const { incomplete, language, sections, sections_without_cards: bare } = answer;
  const came = arrived + known;
  const sentences = [];
  if (asked.count > came) sentences.push(`${number(came)} of the ${count(asked.count, "card")} came.`);
  else if (incomplete) sentences.push("Not all cards came.");
  if (incomplete) sentences.push(INCOMPLETE[incomplete] ?? explain(new Failure(incomplete)).title);
  if (language && asked.language && spoken(language) !== spoken(asked.language)) {
    sentences.push(`They look like ${languageName(language)}, not ${languageName(asked.language)}.`);
  }
  if (bare?.length) {
    const titles = bare.map(({ number: at, title }) => (title ? `“${title}”` : number(at)));
    const more = titles.length > MOST_TITLES ? `, and ${number(titles.length - MOST_TITLES)} more` : "";
    const which = `${titles.slice(0, MOST_TITLES).join(", ")}${more}`;
    sentences.push(`${number(bare.length)} of the ${count(sections, "section")} gave no card: ${which}.`);
  }
  return sentences.join(" ");
}

/** Which cards were left out, and why: sentences, "" if none were. `dropped` is the API's. */
export function explainLeftOut({ arrived, known = 0 }, { dropped }) {
  const reasons = {};
  for (const [reason, times] of Object.entries(dropped ?? {})) {
    const words = DROPPED[reason] ?? "unusable";
    reasons[words] = (reasons[words] ?? 0) + times;
  }
  const total = Object.values(reasons).reduce((sum, times) => sum + times, 0);
  const told = Object.entries(reasons).map(([words, times]) => `${number(times)} ${words}`);
  return [
    known && `${number(known)} of ${number(arrived + known)} were already here.`,
    total && `The server left out ${count(total, "card")}: ${told.join(", ")}.`,
  ]
    .filter(Boolean)
    .join(" ");
}
