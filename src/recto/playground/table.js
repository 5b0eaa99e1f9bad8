// The cards on the table.

import { cardElement } from "./cards.js";
import { announce, element, count, hideNotice, notify, on } from "./page.js";
import { explainLeftOut, explainShortfall } from "./outcome.js";
import { focusPart, hover, light, read, registerReading, renderReading } from "./reading.js";
import { holdBack, sendHeldBack, sendReviews } from "./review.js";
import { comparable } from "./text.js";
import { accepted, save, work } from "./work.js";

function newElement(card) {
  const root = cardElement(card, { changed, announce, moveOn: () => moveOn(card), showPart: () => focusPart(card) });
  root.addEventListener("focusin", () => light(card));
  root.addEventListener("mousemove", ({ movementX, movementY }) => {
    if (movementX || movementY) hover(card); // else the page has moved, below the mouse
  });
  root.addEventListener("mouseleave", () => hover(null));
  return root;
}

function changed() {
  summarise();
  renderReading();
  save();
  sendReviews();
}

/** [{front, back, …}] → cards at the end of the table. The first of them gets the focus if nothing else has it. */
export function addCards(proposals) {
  hideNotice(); // Undo would remove the new cards
  const isFirst = isFocusFree();
  const existing = work.cards.length;
  const cards = proposals.map((proposal, index) => ({
    decision: "open",
    edited: false,
    draft: null,
    ...proposal,
    proposed: proposal.front,
    folio: existing + index + 1,
  }));
  work.cards.push(...cards);
  element("cards").append(...cards.map(newElement));
  read();
  changed();
  if (isFirst) focusCard(existing);
}

/** Add the card unless one of the table asks the same, or did before it was edited → whether it was added. */
export function addNew(proposal) {
  const front = comparable(proposal.front);
  const isKnown = work.cards.some((card) => [card.front, card.proposed].some((known) => known && comparable(known) === front));
  if (!isKnown) addCards([proposal]);
  return !isKnown;
}

const pointAt = (cards) =>
  work.cards.forEach((card, index) => element("cards").children[index].classList.toggle("is-lit", cards.includes(card)));

export const focusCard = (index) => element("cards").children[index]?.querySelector("article").focus();

/** Move the focus to the next card that is open, if there is one. */
function moveOn(card) {
  const at = work.cards.indexOf(card);
  const next = [...work.cards.slice(at), ...work.cards].find(({ decision }) => decision === "open");
  if (next) focusCard(work.cards.indexOf(next));
  else announce("All cards are decided.");
}

/** Whether the learner waits for cards, at the button that cancels them or at the last card, which is decided. */
function isFocusFree() {
  const { activeElement } = document;
  if (activeElement === document.body || element("progress").contains(activeElement)) return true;
  return element("cards").contains(activeElement) && work.cards.every((card) => card.decision !== "open");
}

/** Say how many cards have come, and what is missing of what was asked for. The parameters are those of outcome.js. */
export function announceArrived(tally, answer, asked = {}) {
  const shortfall = explainShortfall(tally, answer, asked);
  const leftOut = explainLeftOut(tally, answer);
  showOutcome(shortfall, leftOut);
  const arrived = tally.known && !tally.arrived ? "No new proposals" : count(tally.arrived, "proposal");
  if (!tally.arrived && element("progress").contains(document.activeElement)) element("results-title").focus();
  announce([`${arrived} arrived.`, shortfall, leftOut].filter(Boolean).join(" "));
}

export const hideOutcome = () => showOutcome("", "");

function showOutcome(shortfall, leftOut) {
  element("incomplete").textContent = shortfall;
  element("left-out").textContent = leftOut;
}

export function renderCards() {
  element("cards").classList.toggle("is-studying", work.study);
  element("study").textContent = work.study ? "Back to review" : "Study";
  element("cards").replaceChildren(...work.cards.map(newElement));
  summarise();
  renderReading();
}

/** Accept the open cards; the server hears of it when it can no longer be undone. */
export function acceptAll() {
  const cards = work.cards.filter(({ decision }) => decision === "open");
  const decide = (from, to) => {
    for (const card of cards) if (card.decision === from) card.decision = to;
    renderCards();
    changed();
  };
  hideNotice();
  holdBack(cards);
  decide("open", "accepted");
  const undo = () => {
    decide("accepted", "open");
    element("accept-all").focus();
  };
  notify(`${count(cards.length, "card")} accepted.`, { undo, close: sendHeldBack });
  element("undo").focus();
}

function summarise() {
  const chosen = accepted().length;
  const rejected = work.cards.filter((card) => card.decision === "rejected").length;
  const parts = [count(work.cards.length, "card"), `${chosen} accepted`, rejected && `${rejected} rejected`];
  element("summary").textContent = parts.filter(Boolean).join(", ");
  element("results").hidden = !work.cards.length;
  element("accept-all").disabled = chosen + rejected === work.cards.length;
  element("anki").disabled = element("csv").disabled = !chosen;
  const drafts = work.cards.filter((card) => card.draft).length;
  element("export-hint").textContent =
    (chosen ? `Both hold the ${count(chosen, "accepted card")}.` : "Accept at least one card to download it.") +
    (drafts ? ` ${count(drafts, "edit")} not saved yet.` : "");
}

on("study", "click", () => {
  work.study = !work.study;
  renderCards();
  save();
});
registerReading({ select: (card) => focusCard(work.cards.indexOf(card)), point: pointAt });
