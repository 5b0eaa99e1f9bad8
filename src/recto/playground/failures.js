// What the page says about each failure: what happened, and what to do next. `again`: the same call may succeed.

import { element, on } from "./page.js";
import { canSignIn, signIn } from "./signin.js";
import { token } from "./work.js";

const EXPLANATIONS = {
  no_token: {
    title: "An access token is needed.",
    advice: canSignIn ? "Sign in, and it goes on from here." : "Paste yours here, then try again.",
    again: true,
    needsToken: true,
  },
  unauthorized: {
    title: "The server did not accept your access token.",
    advice: canSignIn ? "Sign in again, and it goes on from here." : "It may have expired. Paste a fresh one here, then try again.",
    again: true,
    needsToken: true,
  },
  invalid_request: {
    title: "The server refused what was sent.",
    advice: "Change it as the server asks, then try again.",
    again: false,
  },
  rate_limited: {
    title: "You have reached this server’s limit for now.",
    advice: "Wait a little, then try again.",
    again: true,
  },
  quota_exceeded: {
    title: "This month’s generations are used up.",
    advice: "You can generate again next month.",
    again: false,
  },
  in_progress: {
    title: "This is being worked on already.",
    advice: "Wait until it is done; see “Past generations” below.",
    again: true,
  },
  already_succeeded: {
    title: "This generation has succeeded meanwhile.",
    advice: "Open it under “Past generations” below.",
    again: false,
  },
  expired: {
    title: "This generation can no longer be retried.",
    advice: "The server has erased its text. Make flashcards of the text again.",
    again: false,
  },
  not_found: {
    title: "The server does not have this generation any more.",
    advice: "Make flashcards of the text again.",
    again: false,
  },
  picture_gone: {
    title: "The server does not have one of the pictures any more.",
    advice: "Remove those that are not shown from their cards, then download the deck again.",
    again: true,
  },
  idempotency_key_reused: {
    title: "The server took this for another request.",
    advice: "Make flashcards of the text again.",
    again: true,
  },
  upstream_timeout: {
    title: "The language model took too long.",
    advice: "Try again; a shorter text is usually answered sooner.",
    again: true,
  },
  upstream_rate_limited: {
    title: "The language model is busy.",
    advice: "Wait half a minute, then try again.",
    again: true,
  },
  upstream_invalid_response: {
    title: "The language model answered, but with no usable flashcard.",
    advice: "Try again. If that does not help, choose a passage with more facts in it.",
    again: true,
  },
  upstream_error: {
    title: "The language model’s provider failed.",
    advice: "This is not your text’s fault. Try again in a minute.",
    again: true,
  },
  upstream_refused: {
    title: "This server’s account at the language model’s provider cannot be used.",
    advice: "Nothing is wrong with your text. Tell the people who run this server: its log has the reason.",
    again: false,
  },
  internal_error: {
    title: "The server failed.",
    advice: "Try again. If it fails once more, tell the people who run this server.",
    again: true,
  },
  unavailable: {
    title: "The server cannot work at the moment.",
    advice: "It is probably restarting. Try again in a minute.",
    again: true,
  },
  network: {
    title: "The server could not be reached.",
    advice: "Check your connection, then try again.",
    again: true,
  },
  unexpected: {
    title: "Something other than Recto answered.",
    advice: "A proxy on the way may be down or may have cut the request short. Try again in a minute.",
    again: true,
  },
};

/** Failure → {title, advice, again, needsToken, detail, requestId, wait}; `wait` in seconds, 0 when there is none. */
export function explain(failure) {
  const known = EXPLANATIONS[failure.code];
  const { title, advice, again, needsToken = false } = known ?? {
    title: "The server refused the request.",
    advice: "Try again. If it fails once more, tell the people who run this server.",
    again: true,
  };
  const detail = failure.code === "invalid_request" || !known ? failure.message : statusOf(failure);
  const wait = failure.code === "rate_limited" && failure.retryAfter > 0 ? failure.retryAfter : 0;
  return { title, advice, again, needsToken, detail, requestId: failure.requestId, wait };
}

const statusOf = ({ code, status }) => (code === "unexpected" && status ? `HTTP status ${status}` : "");

const day = (text) => new Date(text).toLocaleDateString(undefined, { dateStyle: "medium" });

const OF_PICTURES = {
  limit_exceeded: ({ resetsAt }) => `This month’s pictures are used up. The next ones begin on ${day(resetsAt)}.`,
  too_many_inflight: () => "Another picture of yours is being made, and there is one at a time. Wait for it, then try again.",
  invalid_request: ({ message }) => `The server makes no picture of this card. ${message}`,
  upstream_error: () => "The image model’s provider could not make this picture. Try again in a minute.",
  pictures_off: () => "This server makes no pictures.",
  not_found: () => "The server does not have this picture any more.",
  canceled: () => "This picture was cancelled.",
};
OF_PICTURES.validation_error = OF_PICTURES.invalid_request;
const FINAL = new Set(["limit_exceeded", "invalid_request", "validation_error", "pictures_off"]);

/** The Failure of a card's picture → {text, again, needsToken}. */
export function explainPicture(failure) {
  const { title, advice, again, needsToken } = explain(failure);
  const text = OF_PICTURES[failure.code]?.(failure) ?? (needsToken ? title : `${title} ${advice}`);
  return { text, again: failure.code in OF_PICTURES ? !FINAL.has(failure.code) : again, needsToken };
}

/** 75 → "1 min 15 s". */
export function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  return minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

let retry = null;
let countdown = 0;

/** Show a failure and move the focus to it. “Try again” calls `onRetry`, if need be with another token. */
export function showFailure(
  { title, advice, again = false, needsToken = false, detail = "", requestId = "", wait = 0 },
  onRetry = null,
) {
  clearInterval(countdown);
  const signsIn = needsToken && canSignIn;
  retry = again ? onRetry : null;
  if (retry && signsIn) retry = () => signIn().then(onRetry);
  element("retry").textContent = signsIn ? "Sign in again" : "Try again";
  placeTokenField(needsToken && !signsIn);
  element("failure-title").textContent = title;
  element("failure-detail").textContent = detail;
  element("request-id").textContent = requestId;
  element("failure-request").hidden = !requestId;
  element("retry").hidden = !retry;
  element("failure").hidden = false;

  const readyAt = Date.now() + wait * 1000;
  const showTimeLeft = () => {
    const secondsLeft = Math.ceil((readyAt - Date.now()) / 1000);
    element("retry").disabled = secondsLeft > 0;
    element("failure-advice").textContent =
      secondsLeft > 0 ? `You can try again in ${duration(secondsLeft)}.` : wait ? "You can try again now." : advice;
    if (secondsLeft <= 0) clearInterval(countdown);
  };
  countdown = setInterval(showTimeLeft, 250);
  showTimeLeft();
  element("failure").focus();
}

export function hideFailure() {
  clearInterval(countdown);
  if (element("failure").hidden) return;
  element("failure").hidden = true;
  placeTokenField(false);
}

/** Put the token's field where it is needed: into the failure, or to the top of the page. */
function placeTokenField(isInFailure) {
  const place = element(isInFailure ? "failure-token" : "access");
  if (place.contains(element("token-field"))) return;
  place.append(element("token-field"));
  element("token").value = isInFailure ? "" : token(); // the refused one is not in the way of the next
  element("access").hidden = isInFailure;
  element("access").open = !token();
}

function tryAgain() {
  hideFailure();
  retry();
}

on("retry", "click", tryAgain);
on("token", "keydown", (event) => {
  if (event.key !== "Enter" || !retry || !element("failure-token").contains(event.target)) return;
  event.preventDefault(); // or it presses the button that the focus goes to
  tryAgain();
});
