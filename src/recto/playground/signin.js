// Where the page itself has a token, as `recto dev` gives it one, it signs in with that.

import { keepToken, token } from "./work.js";

const tokenOf = (page) => page.documentElement.dataset.token;

export const canSignIn = Boolean(tokenOf(document));

/** Take a fresh token from the page. Where that cannot be reached the old one stays. */
export async function signIn() {
  try {
    const html = await (await fetch("./", { cache: "no-store" })).text();
    keepToken(tokenOf(new DOMParser().parseFromString(html, "text/html")) ?? token());
  } catch {
    // what is tried next says that the server cannot be reached
  }
}

if (canSignIn && !token()) keepToken(tokenOf(document));
