// Helpers that every part of the page uses.

export const element = (id) => document.getElementById(id);
export const on = (id, event, listener) => element(id).addEventListener(event, listener);
export const number = (value) => value.toLocaleString("en");
export const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
export const dollars = (value) => `$${value.toFixed(value && value < 0.01 ? 5 : 2)}`;

export function announce(text) {
  element("status").textContent = text;
}

let notice = {};

/** Show a notice, with Undo if there is `undo()`. `close()` is called once it is gone, undone or not. */
export function notify(text, { undo = null, close = null } = {}) {
  hideNotice();
  notice = { undo, close };
  element("notice-text").textContent = text;
  element("undo").hidden = !undo;
  element("notice").hidden = false;
  announce(text);
}

export function hideNotice() {
  const { close } = notice;
  notice = {};
  element("notice").hidden = true;
  close?.();
}

on("undo", "click", () => {
  notice.undo();
  hideNotice();
});
on("close-notice", "click", hideNotice);
