// Decisions on cards that the server keeps: shown at once, sent in the background, and kept here until they arrive.

import { review } from "./api.js";
import { announce, at, on } from "./page.js";
import { save, token, work } from "./work.js";

const decided = ({ id, decision, front, back }) =>
  decision === "accepted" ? { id, status: decision, front, back } : { id, status: decision };

const isUnsent = (card) =>
  card.id && card.decision !== "open" && JSON.stringify(decided(card)) !== JSON.stringify(card.sent);

let sending = false;

/** Send what has not arrived; what is decided meanwhile goes with the next round. */
export async function sendReviews() {
  if (sending) return;
  sending = true;
  try {
    for (let cards; (cards = nextUnsent()).length; save()) {
      const reviews = cards.map(decided);
      await review(token(), cards[0].generation, reviews);
      cards.forEach((card, index) => (card.sent = reviews[index]));
    }
    at("unsent").hidden = true;
  } catch (error) {
    if (error.code === "not_found") keepHere();
    else showUnsent();
  } finally {
    sending = false;
  }
}

/** All that is unsent of one generation: the route takes decisions on one at a time. */
function nextUnsent() {
  const unsent = work.cards.filter(isUnsent);
  return unsent.filter((card) => card.generation === unsent[0].generation);
}

function showUnsent() {
  if (at("unsent").hidden) announce("Some decisions have not reached the server.");
  at("unsent").hidden = false;
}

/** The server has erased the proposals, as it does after a while. The cards stay on the table. */
function keepHere() {
  const [{ generation }] = nextUnsent();
  for (const card of work.cards) if (card.generation === generation) delete card.id;
  save();
}

on("send", "click", sendReviews);
addEventListener("online", sendReviews);
