// What every part of the page works with.

export const at = (id) => document.getElementById(id);
export const on = (id, event, act) => at(id).addEventListener(event, act);
export const number = (value) => value.toLocaleString("en");
export const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;

export function announce(text) {
  at("status").textContent = text;
}

let taken = null;

/** Say it beside the work; `before` is what Undo puts back into it. */
export function notify(text, before = null) {
  taken = before;
  at("notice-text").textContent = text;
  at("undo").hidden = !taken;
  at("notice").hidden = false;
  announce(text);
}

export function hideNotice() {
  at("notice").hidden = true;
}

/** What Undo must put back. */
export const before = () => taken;
