// One card: two sides, a decision, an editor, a picture. It shows both sides, or turns while it is studied.

import { showText } from "./markup.js";
import { showGaps } from "./cloze.js";
import * as pictures from "./pictures.js";
import { characters, work } from "./work.js";

const LONGEST = { front: 200, back: 500 };
const SIDES = ["front", "back"];
const DECISIONS = { accept: ["Accept", "Accepted"], reject: ["Reject", "Rejected"] };
const template = document.getElementById("card");

/**
 * An element for `card`, which it edits in place. `changed()` is called after every change worth keeping,
 * `announce(text)` with what a screen reader should say, `moveOn()` after a decision by key, `showPart()` to find the card
 * in the text.
 */
export function cardElement(card, { changed, announce, moveOn, showPart }) {
  const root = template.content.firstElementChild.cloneNode(true);
  const parts = Object.fromEntries([...root.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
  const name = `card ${card.folio}`;
  const image = Object.assign(new Image(), { className: "picture" });
  let turned = false;

  root.querySelector("article").setAttribute("aria-label", `Card ${card.folio}`);
  parts["folio-recto"].textContent = parts["folio-verso"].textContent = card.folio;
  for (const part of [...SIDES, "doubt"]) parts[part].id = `card-${card.folio}-${part}`;
  root.firstElementChild.setAttribute("aria-describedby", [...SIDES, "doubt"].map((part) => parts[part].id).join(" "));
  for (const action of ["edit", "illustrate"]) {
    parts[action].setAttribute("aria-label", `${parts[action].textContent} ${name}`);
  }

  function render() {
    root.dataset.decision = card.decision;
    root.classList.toggle("is-turned", turned);
    root.classList.toggle("is-editing", Boolean(card.draft));
    root.classList.toggle("is-edited", card.edited);
    for (const side of SIDES) showText(parts[side], card[side]);
    showGaps(parts.front);
    parts.doubt.hidden = card.grounded !== false || card.edited; // what was edited is the learner's own
    parts.quoted.textContent = card.quote;
    parts.quote.hidden = !card.quote || work.study || Boolean(card.draft); // to study, it would give the answer away
    parts.recto.ariaHidden = String(work.study && turned);
    parts.verso.ariaHidden = String(work.study && !turned);
    parts.turn.hidden = !work.study;
    parts.turn.setAttribute("aria-label", `Turn ${name} to its ${turned ? "front" : "back"}`);
    for (const [action, [open, decided]] of Object.entries(DECISIONS)) {
      const isDecided = card.decision === decided.toLowerCase();
      parts[action].textContent = isDecided ? decided : open;
      parts[action].setAttribute("aria-label", `${parts[action].textContent} ${name}`);
      parts[action].setAttribute("aria-pressed", isDecided);
    }
    parts.stage.hidden = parts.actions.hidden = Boolean(card.draft);
    parts.editor.hidden = !card.draft;
    renderPicture();
  }

  function renderPicture() {
    const { failure, renderId, stage, url } = card.picture ?? {};
    parts.illustrate.hidden = !pictures.areOn || Boolean(card.picture && (!failure || failure.again));
    parts.illustration.hidden = !card.picture;
    parts.illustration.classList.toggle("has-failed", Boolean(failure));
    parts.turning.hidden = Boolean(failure || renderId);
    parts["picture-stage"].textContent = failure?.text ?? (renderId ? "A picture is on its back." : stage);
    parts.again.hidden = !failure?.again;
    parts.again.setAttribute("aria-label", `Try again to illustrate ${name}`);
    const undo = failure ? "Dismiss" : renderId ? "Remove" : "Cancel";
    parts.undo.textContent = undo;
    parts.undo.setAttribute("aria-label", `${undo} the picture of ${name}`);
    if (!renderId) return image.remove();
    Object.assign(image, { src: url, alt: `Illustration of: ${card.front}` });
    parts.verso.append(image);
  }

  /** Do what hides the button that was pressed; the focus goes where its place has been taken. */
  function replacing(button, act, successor) {
    const hadFocus = document.activeElement === button;
    act(card);
    if (hadFocus) successor.focus();
  }

  function turn() {
    turned = !turned;
    render();
    announce(turned ? `Back: ${card.back}` : `Front: ${card.front}`);
  }

  function decide(decision) {
    // A decision on a card that the server keeps can be changed, but not taken back.
    card.decision = card.decision === decision && !card.id ? "open" : decision;
    render();
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

  function openEditor() {
    card.draft ??= { front: card.front, back: card.back };
    for (const side of SIDES) parts[`${side}-draft`].value = card.draft[side];
    parts.complaint.textContent = "";
    measure();
    render();
  }

  /** Bring all of it into view, its buttons too. */
  const showEditor = () => parts.editor.scrollIntoView({ block: "nearest" });

  function closeEditor() {
    card.draft = null;
    render();
    changed();
    parts.edit.focus();
  }

  function saveDraft() {
    const invalid = SIDES.find((side) => parts[`${side}-draft`].ariaInvalid === "true");
    if (invalid) {
      const empty = !card.draft[invalid].trim();
      parts.complaint.textContent = empty
        ? `The ${invalid} is empty. Write something, or cancel and reject the card.`
        : `The ${invalid} may have at most ${LONGEST[invalid]} characters. Shorten it, then save.`;
      parts[`${invalid}-draft`].focus();
      return;
    }
    for (const side of SIDES) {
      const text = card.draft[side].trim();
      card.edited ||= text !== card[side];
      card[side] = text;
    }
    closeEditor();
    announce(`Card ${card.folio} saved.`);
  }

  parts.turn.addEventListener("click", turn);
  parts.quote.addEventListener("click", showPart);
  parts.stage.addEventListener("click", () => {
    if (work.study && getSelection().isCollapsed) turn(); // else the click ended a selection
  });
  parts.edit.addEventListener("click", () => {
    openEditor();
    changed();
    parts[work.study && turned ? "back-draft" : "front-draft"].focus();
    showEditor();
  });
  parts.illustrate.addEventListener("click", () => replacing(parts.illustrate, pictures.illustrate, parts.undo));
  parts.again.addEventListener("click", () => replacing(parts.again, pictures.tryAgain, parts.undo));
  parts.undo.addEventListener("click", () => replacing(parts.undo, pictures.remove, parts.illustrate));
  pictures.watch(card, () => {
    turned ||= Boolean(card.picture?.renderId); // so that it is seen
    render();
  });
  parts.accept.addEventListener("click", () => decide("accepted"));
  parts.reject.addEventListener("click", () => decide("rejected"));
  parts.revert.addEventListener("click", closeEditor);
  parts.editor.addEventListener("submit", (event) => {
    event.preventDefault();
    saveDraft();
  });
  parts.editor.addEventListener("input", () => {
    for (const side of SIDES) card.draft[side] = parts[`${side}-draft`].value;
    measure();
    changed();
    showEditor();
  });
  root.addEventListener("keydown", (event) => {
    if (card.draft) {
      if (event.key === "Escape") closeEditor();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) saveDraft();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const neighbour = { ArrowLeft: root.previousElementSibling, ArrowRight: root.nextElementSibling }[event.key];
    const action = { t: "turn", e: "edit", i: "illustrate", a: "accept", r: "reject", s: "quote" }[event.key.toLowerCase()];
    if (!neighbour && (!action || parts[action].hidden)) return;
    event.preventDefault();
    neighbour?.querySelector("article").focus();
    parts[action]?.click();
    if (action in DECISIONS && card.decision !== "open") moveOn();
  });

  if (card.draft) openEditor();
  render();
  return root;
}
