// The cards on the table.

import { cardElement } from "./cards.js";
import { announce, at, count, hideNotice } from "./page.js";
import { sendReviews } from "./review.js";
import { accepted, save, work } from "./work.js";

const laid = (card) => cardElement(card, { changed, announce });

function changed() {
  summarise();
  save();
  sendReviews();
}

/** [{front, back, …}] → cards at the end of the table, the first of them in focus. */
export function addCards(proposals) {
  hideNotice(); // an undo from before would take the new cards away
  const there = work.cards.length;
  const cards = proposals.map((proposal, index) => ({
    decision: "open",
    edited: false,
    draft: null,
    ...proposal,
    folio: there + index + 1,
  }));
  work.cards.push(...cards);
  at("cards").append(...cards.map(laid));
  changed();
  (there ? at("cards").children[there].querySelector("button") : at("results-title")).focus();
  announce(`${count(cards.length, "proposal")} arrived.`);
}

export function showCards() {
  at("cards").replaceChildren(...work.cards.map(laid));
  summarise();
}

export function acceptAll() {
  for (const card of work.cards) if (card.decision === "open") card.decision = "accepted";
  showCards();
  changed();
  announce(at("summary").textContent);
}

function summarise() {
  const chosen = accepted().length;
  const rejected = work.cards.filter((card) => card.decision === "rejected").length;
  const parts = [count(work.cards.length, "card"), `${chosen} accepted`, rejected && `${rejected} rejected`];
  at("summary").textContent = parts.filter(Boolean).join(", ");
  at("results").hidden = !work.cards.length;
  at("accept-all").disabled = chosen + rejected === work.cards.length;
  at("anki").disabled = at("csv").disabled = !chosen;
  const drafts = work.cards.filter((card) => card.draft).length;
  at("export-hint").textContent =
    (chosen ? `Both hold the ${count(chosen, "accepted card")}.` : "Accept at least one card to download it.") +
    (drafts ? ` ${count(drafts, "edit")} not saved yet.` : "");
}
