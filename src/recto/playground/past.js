// The list of past generations, with what became of them.

import { Failure, cancelGeneration, listGenerations, readSuggestions, readUsage } from "./api.js";
import { explain } from "./failures.js";
import { announce, at, count, number, on } from "./page.js";
import { addCards } from "./table.js";
import { token, work } from "./work.js";

const STATUS = { pending: "Waiting", running: "Running", succeeded: "Done", failed: "Failed", canceled: "Cancelled" };
const KIND = { review: "in the background", session: "in a session", deck: "for a deck" };
const template = at("generation");
const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

let cursor = null;
let page = null; // {fail, follow, retry, busy}

/** Show the newest again if the list is open. */
export async function refreshPast() {
  if (!at("past").open || !token()) return;
  await show(null);
}

async function show(from) {
  try {
    const answer = await listGenerations(token(), from);
    const rows = answer.generations.map(row);
    if (from) at("generations").append(...rows);
    else at("generations").replaceChildren(...rows);
    cursor = answer.next_cursor;
    at("more").hidden = !cursor;
    at("no-generations").hidden = Boolean(at("generations").children.length);
    if (!from) await showUsage();
    else rows[0]?.querySelector("button")?.focus();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    page.fail(explain(error), error, () => show(from));
  }
}

async function showUsage() {
  const { limit, used, reserved, resets_at } = await readUsage(token());
  at("usage").hidden = limit === null;
  if (limit === null) return;
  const day = new Date(resets_at).toLocaleDateString(undefined, { dateStyle: "medium" });
  at("usage").textContent =
    `${number(used)} of ${count(limit, "generation")} used this month` +
    `${reserved ? `, ${number(reserved)} running` : ""}. The count begins anew on ${day}.`;
}

function row(generation) {
  const { generation_id: id, status, suggestions_count: cards } = generation;
  const root = template.content.firstElementChild.cloneNode(true);
  const parts = Object.fromEntries([...root.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
  const when = new Date(generation.created_at);
  root.dataset.status = status;
  parts.status.textContent = STATUS[status];
  parts.when.textContent = time.format(when);
  parts.when.dateTime = generation.created_at;
  parts.facts.textContent = facts(generation);
  if (status === "failed") parts.error.textContent = explain(new Failure(generation.error.code)).title;

  const able = {
    look: status === "succeeded" && cards > 0,
    follow: (status === "pending" || status === "running") && work.job?.id !== id,
    retry: generation.retry_at !== null,
    erase: generation.retry_at !== null || cards > 0,
  };
  for (const [action, possible] of Object.entries(able)) {
    parts[action].hidden = !possible;
    parts[action].setAttribute("aria-label", `${parts[action].textContent}: ${STATUS[status]}, ${time.format(when)}`);
  }
  if (able.retry) countDown(parts.retry, Date.parse(generation.retry_at));
  parts.look.addEventListener("click", () => attempt(() => look(id)));
  parts.follow.addEventListener("click", () => page.busy() || page.follow(id));
  parts.retry.addEventListener("click", () => page.busy() || page.retry(id));
  parts.erase.addEventListener("click", () => {
    // It cannot be undone, so it is asked for twice.
    if (parts.erase.dataset.sure) return attempt(() => erase(id));
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

function facts({ kind, status, attempts, model, suggestions_count, tokens_input, tokens_output, cost_usd }) {
  const tokens = (tokens_input ?? 0) + (tokens_output ?? 0);
  return [
    KIND[kind],
    model,
    status === "succeeded" && count(suggestions_count, "card"),
    attempts > 1 && count(attempts, "attempt"),
    tokens > 0 && count(tokens, "token"),
    cost_usd !== null && `$${cost_usd.toFixed(cost_usd && cost_usd < 0.01 ? 5 : 2)}`,
  ]
    .filter(Boolean)
    .join(" · ");
}

function countDown(button, ready) {
  const left = Math.ceil((ready - Date.now()) / 1000);
  button.disabled = left > 0;
  button.textContent = left > 0 ? `Retry in ${left} s` : "Retry";
  if (left > 0) setTimeout(() => countDown(button, ready), 500);
}

async function attempt(act) {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    page.fail(explain(error), error, () => attempt(act));
  }
}

/** Lay its cards on the table, those that are not there yet. */
async function look(id) {
  const there = new Set(work.cards.map((card) => card.id));
  const cards = (await readSuggestions(token(), id)).filter((card) => !there.has(card.id));
  if (cards.length) return addCards(cards);
  at("results-title").focus();
  announce("Its cards are on the table already.");
}

async function erase(id) {
  await cancelGeneration(token(), id);
  announce("Erased.");
  await show(null);
  (at("generations").querySelector("button:not([hidden])") ?? at("past").querySelector("summary")).focus();
}

/** `page`: {fail(explanation, error, act), follow(id), retry(id), busy()}. */
export function registerPast(actions) {
  page = actions;
  on("past", "toggle", refreshPast);
  on("more", "click", () => show(cursor));
  on("refresh", "click", refreshPast);
}
