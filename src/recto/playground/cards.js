// One card on the table: two faces, a decision, an editor.

import { characters } from "./work.js";

const LONGEST = { front: 200, back: 500 };
const SIDES = ["front", "back"];
const template = document.getElementById("card");

/**
 * An element for `card`, which it edits in place. `changed()` is called after every change worth keeping,
 * `announce(text)` with what a listener must hear.
 */
export function cardElement(card, { changed, announce }) {
  const root = template.content.firstElementChild.cloneNode(true);
  const parts = Object.fromEntries([...root.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
  const name = `card ${card.folio}`;
  let turned = false;

  root.querySelector("article").setAttribute("aria-label", `Card ${card.folio}`);
  parts["folio-recto"].textContent = `${card.folio}r`; // leaves are counted, not pages: 1 recto, 1 verso
  parts["folio-verso"].textContent = `${card.folio}v`;
  for (const action of ["edit", "accept", "reject"]) {
    parts[action].setAttribute("aria-label", `${parts[action].textContent} ${name}`);
  }

  function show() {
    root.dataset.decision = card.decision;
    root.classList.toggle("is-turned", turned);
    root.classList.toggle("is-edited", card.edited);
    for (const side of SIDES) parts[side].textContent = card[side];
    parts.recto.ariaHidden = String(turned);
    parts.verso.ariaHidden = String(!turned);
    parts.turn.setAttribute("aria-label", `Turn ${name} to its ${turned ? "front" : "back"}`);
    parts.accept.setAttribute("aria-pressed", card.decision === "accepted");
    parts.reject.setAttribute("aria-pressed", card.decision === "rejected");
    parts.stage.hidden = parts.actions.hidden = Boolean(card.draft);
    parts.editor.hidden = !card.draft;
  }

  function turn() {
    turned = !turned;
    show();
    announce(turned ? `Back: ${card.back}` : `Front: ${card.front}`);
  }

  function decide(decision) {
    // The server, where it keeps the card, knows no way back to no decision.
    card.decision = card.decision === decision && !card.id ? "open" : decision;
    show();
    changed();
    announce(`Card ${card.folio}: ${card.decision === "open" ? "no decision" : card.decision}.`);
  }

  function measure() {
    for (const side of SIDES) {
      const length = characters(card.draft[side].trim());
      parts[`${side}-count`].textContent = `${length} / ${LONGEST[side]}`;
      parts[`${side}-draft`].ariaInvalid = String(length === 0 || length > LONGEST[side]);
    }
  }

  function edit() {
    card.draft ??= { front: card.front, back: card.back };
    for (const side of SIDES) parts[`${side}-draft`].value = card.draft[side];
    parts.complaint.textContent = "";
    measure();
    show();
  }

  function leave() {
    card.draft = null;
    show();
    changed();
    parts.edit.focus();
  }

  function keep() {
    const wrong = SIDES.find((side) => parts[`${side}-draft`].ariaInvalid === "true");
    if (wrong) {
      const empty = !card.draft[wrong].trim();
      parts.complaint.textContent = empty
        ? `The ${wrong} is empty. Write something, or cancel and reject the card.`
        : `The ${wrong} may have at most ${LONGEST[wrong]} characters. Shorten it, then save.`;
      parts[`${wrong}-draft`].focus();
      return;
    }
    for (const side of SIDES) {
      const text = card.draft[side].trim();
      card.edited ||= text !== card[side];
      card[side] = text;
    }
    leave();
    announce(`Card ${card.folio} saved.`);
  }

  parts.turn.addEventListener("click", turn);
  parts.stage.addEventListener("click", () => {
    if (getSelection().isCollapsed) turn(); // a click that ends a selection is no wish to turn
  });
  parts.edit.addEventListener("click", () => {
    edit();
    changed();
    parts[turned ? "back-draft" : "front-draft"].focus();
  });
  parts.accept.addEventListener("click", () => decide("accepted"));
  parts.reject.addEventListener("click", () => decide("rejected"));
  parts.revert.addEventListener("click", leave);
  parts.editor.addEventListener("submit", (event) => {
    event.preventDefault();
    keep();
  });
  parts.editor.addEventListener("input", () => {
    for (const side of SIDES) card.draft[side] = parts[`${side}-draft`].value;
    measure();
    changed();
  });
  root.addEventListener("keydown", (event) => {
    if (card.draft) {
      if (event.key === "Escape") leave();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) keep();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const neighbour = { ArrowLeft: root.previousElementSibling, ArrowRight: root.nextElementSibling }[event.key];
    const action = { t: "turn", e: "edit", a: "accept", r: "reject" }[event.key.toLowerCase()];
    if (!neighbour && !action) return;
    event.preventDefault();
    neighbour?.querySelector("button:enabled")?.focus();
    parts[action]?.click();
  });

  if (card.draft) edit();
  show();
  return root;
}
