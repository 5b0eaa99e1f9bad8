// The list of past generations and what can be done with each.

import { Failure, cancelGeneration, listGenerations, readSuggestions, readUsage } from "./api.js";
import { explain } from "./failures.js";
import { announce, count, dollars, element, number, on } from "./page.js";
import { addCards, announceArrived, focusCard } from "./table.js";
import { token, work } from "./work.js";

const STATUS = { pending: "Waiting", running: "Running", succeeded: "Done", failed: "Failed", canceled: "Cancelled" };
const KIND = { review: "in the background", session: "in a session", deck: "for a deck" };
const template = element("generation");
const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

let cursor = null;
let page = null; // {fail, follow, retry, isBusy}

/** Load the newest page again if the list is open. */
export async function refreshPast() {
  if (!element("past").open || !token()) return;
  await showPage(null);
}

async function showPage(from) {
  try {
    const answer = await listGenerations(token(), from);
    const rows = answer.generations.map(row);
    if (from) element("generations").append(...rows);
    else element("generations").replaceChildren(...rows);
    cursor = answer.next_cursor;
    element("more").hidden = !cursor;
    element("no-generations").hidden = Boolean(element("generations").children.length);
    if (!from) await showUsage();
    else rows[0]?.querySelector("button")?.focus();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    page.fail(explain(error), error, () => showPage(from));
  }
}

async function showUsage() {
  const { limit, used, reserved, resets_at } = await readUsage(token());
  element("usage").hidden = limit === null;
  if (limit === null) return;
  const day = new Date(resets_at).toLocaleDateString(undefined, { dateStyle: "medium" });
  element("usage").textContent =
    `${number(used)} of ${count(limit, "generation")} used this month` +
    `${reserved ? `, ${number(reserved)} running` : ""}. Starts again on ${day}.`;
}

function row(generation) {
  const { generation_id: id, status, suggestions_count: cards } = generation;
  const root = template.content.firstElementChild.cloneNode(true);
  const parts = Object.fromEntries([...root.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
  const when = new Date(generation.created_at);
  const name = generation.first_front ? `“${generation.first_front}”` : `${STATUS[status]}, ${time.format(when)}`;
  root.dataset.status = status;
  parts.status.textContent = STATUS[status];
  parts.when.textContent = time.format(when);
  parts.when.dateTime = generation.created_at;
  parts.title.textContent = generation.first_front ?? "";
  parts.title.id = `generation-${id}`;
  if (generation.first_front) root.setAttribute("aria-labelledby", parts.title.id);
  parts.facts.textContent = facts(generation);
  parts.id.textContent = id;
  if (status === "failed") parts.error.textContent = explain(new Failure(generation.error.code)).title;

  const possible = {
    open: status === "succeeded" && cards > 0,
    follow: (status === "pending" || status === "running") && work.job?.id !== id,
    retry: generation.retry_at !== null,
    erase: generation.retry_at !== null || cards > 0,
  };
  for (const [action, isPossible] of Object.entries(possible)) {
    parts[action].hidden = !isPossible;
    parts[action].setAttribute("aria-label", `${parts[action].textContent}: ${name}`);
  }
  if (possible.retry) countDown(parts.retry, Date.parse(generation.retry_at));
  parts.open.addEventListener("click", () => reportingFailure(() => openCards(generation)));
  parts.follow.addEventListener("click", () => page.isBusy() || page.follow(id, generation.deck_id));
  parts.retry.addEventListener("click", () => page.isBusy() || page.retry(id, generation.deck_id));
  parts.erase.addEventListener("click", () => {
    // It cannot be undone, so it takes a second click.
    if (parts.erase.dataset.sure) return reportingFailure(() => erase(id));
    parts.erase.dataset.sure = "yes";
    parts.erase.textContent = "Erase for good";
    parts.erase.removeAttribute("aria-label");
    announce("Press again to erase it for good.");
  });
  parts.erase.addEventListener("blur", () => {
    delete parts.erase.dataset.sure;
    parts.erase.textContent = "Erase";
  });
  return root;
}

function facts(generation) {
  const { kind, attempts, model, suggestions_count: cards, reviewed_count: reviewed } = generation;
  const { tokens_input, tokens_output, cost_usd } = generation;
  const tokens = (tokens_input ?? 0) + (tokens_output ?? 0);
  return [
    KIND[kind],
    model,
    cards > 0 && `${number(reviewed)} of ${count(cards, "card")} reviewed`,
    attempts > 1 && count(attempts, "attempt"),
    tokens > 0 && count(tokens, "token"),
    cost_usd !== null && dollars(cost_usd),
  ]
    .filter(Boolean)
    .join(" · ");
}

function countDown(button, readyAt) {
  const secondsLeft = Math.ceil((readyAt - Date.now()) / 1000);
  button.disabled = secondsLeft > 0;
  button.textContent = secondsLeft > 0 ? `Retry in ${secondsLeft} s` : "Retry";
  if (secondsLeft > 0) setTimeout(() => countDown(button, readyAt), 500);
}

/** Call `action`; show a failure, from which it can be tried again. */
async function reportingFailure(action) {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    page.fail(explain(error), error, () => reportingFailure(action));
  }
}

/** Add its cards to the table, except those that are there already. */
async function openCards({ generation_id: id, count: asked, dropped, incomplete }) {
  const existing = new Set(work.cards.map((card) => card.id));
  const all = await readSuggestions(token(), id);
  const cards = all.filter((card) => !existing.has(card.id));
  if (!cards.length) {
    element("results-title").focus();
    return announce("Its cards are on the table already.");
  }
  const first = work.cards.length;
  addCards(cards);
  focusCard(first);
  const tally = { arrived: cards.length, known: all.length - cards.length };
  announceArrived(tally, { dropped, incomplete }, { count: asked });
}

async function erase(id) {
  await cancelGeneration(token(), id);
  announce("Erased.");
  await showPage(null);
  (element("generations").querySelector("button:not([hidden])") ?? element("past").querySelector("summary")).focus();
}

/** `actions`: {fail(explanation, error, onRetry), follow(id, deckId), retry(id, deckId), isBusy()}. */
export function registerPast(actions) {
  page = actions;
  on("past", "toggle", refreshPast);
  on("more", "click", () => showPage(cursor));
  on("refresh", "click", refreshPast);
}
