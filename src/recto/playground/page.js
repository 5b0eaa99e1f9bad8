// Helpers that every part of the page uses.

export const element = (id) => document.getElementById(id);
export const on = (id, event, listener) => element(id).addEventListener(event, listener);
export const number = (value) => value.toLocaleString("en");
export const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;

export function announce(text) {
  element("status").textContent = text;
}

let undoState = null;

/** Show a notice; `restore` holds the fields of `work` as Undo sets them, null if there is nothing to undo. */
export function notify(text, restore = null) {
  undoState = restore;
  element("notice-text").textContent = text;
  element("undo").hidden = !undoState;
  element("notice").hidden = false;
  announce(text);
}

export function hideNotice() {
  element("notice").hidden = true;
}

/** The fields of `work` that Undo sets. */
export const stateToRestore = () => undoState;
