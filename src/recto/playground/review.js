// Decisions on cards that the server keeps: shown at once, sent in the background, kept here until the server has them.

import { review } from "./api.js";
import { explain, showFailure } from "./failures.js";
import { announce, element, on } from "./page.js";
import { save, token, work } from "./work.js";

const reviewOf = ({ id, decision, front, back }) =>
  decision === "accepted" ? { id, status: decision, front, back } : { id, status: decision };

let heldBack = []; // cards whose decision can still be undone: the server does not take it back

const isUnsent = (card) =>
  card.id && !heldBack.includes(card) && card.decision !== "open" && JSON.stringify(reviewOf(card)) !== JSON.stringify(card.sent);

/** Keep the decisions on these cards from the server until `sendHeldBack`. */
export function holdBack(cards) {
  heldBack = cards;
}

export function sendHeldBack() {
  heldBack = [];
  sendReviews();
}

let sending = false;

/** Send all unsent decisions, those made in the meantime included → the Failure if they could not be sent. */
export async function sendReviews() {
  if (sending) return null;
  sending = true;
  try {
    for (let cards; (cards = nextUnsent()).length; save()) {
      const reviews = cards.map(reviewOf);
      await review(token(), cards[0].generation, reviews);
      cards.forEach((card, index) => (card.sent = reviews[index]));
    }
    element("unsent").hidden = true;
  } catch (error) {
    if (error.code === "not_found") detachErased();
    else return showUnsent(error);
  } finally {
    sending = false;
  }
  return null;
}

/** The unsent cards of one generation: the route takes one generation at a time. */
function nextUnsent() {
  const unsent = work.cards.filter(isUnsent);
  return unsent.filter((card) => card.generation === unsent[0].generation);
}

function showUnsent(error) {
  if (element("unsent").hidden) announce("Some decisions have not reached the server.");
  element("unsent").hidden = false;
  return error;
}

/** The server has erased the proposals, as it does in time. The cards stay, as cards of this page alone. */
function detachErased() {
  const [{ generation }] = nextUnsent();
  for (const card of work.cards) if (card.generation === generation) delete card.id;
  save();
}

/** What is sent by a button says why it fails, and takes another token if it needs one. */
async function sendNow() {
  const failure = await sendReviews();
  if (failure) showFailure(explain(failure), sendNow);
}

on("send", "click", sendNow);
addEventListener("online", sendReviews);
