// The calls to the server. Whatever goes wrong becomes a Failure; a cancelled call rejects with the AbortError of
// fetch.

import { readEvents } from "./events.js";

/**
 * `code` is the envelope's `error` in small letters, or one of this page's own: no_token, network, unexpected, and those
 * of pictures.js.
 */
export class Failure extends Error {
  constructor(code, { message = "", status = 0, requestId = "", retryAfter = NaN, resetsAt = "" } = {}) {
    super(message);
    Object.assign(this, { code, status, requestId, retryAfter, resetsAt });
  }
}

/** An idempotency key. */
export function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The id of a new deck: a UUID. */
export const newDeck = () => newKey().replace(/^(.{8})(.{4}).(.{3}).(.{3})/, "$1-$2-4$3-8$4-");

async function call(method, path, token, { body, headers, signal } = {}) {
  // A header cannot hold other characters, and fetch would report them as a network failure.
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Failure("no_token");
  const response = await orNetworkFailure(
    fetch(path, {
      method,
      headers: { Authorization: `Bearer ${token}`, ...(body && { "Content-Type": "application/json" }), ...headers },
      body: body && JSON.stringify(body),
      cache: "no-store",
      signal,
    }),
  );
  if (!response.ok && response.status !== 304) throw await failureOf(response);
  return response;
}

/** The response's JSON. Throws a Failure unless `isValid` accepts it. */
async function readJson(response, isValid) {
  const answer = await parseJson(response);
  if (!answer || !isValid(answer)) throw new Failure("unexpected", metadata(response));
  return answer;
}

async function orNetworkFailure(promise) {
  try {
    return await promise;
  } catch (error) {
    throw error.name === "AbortError" ? error : new Failure("network");
  }
}

const metadata = (response) => ({
  status: response.status,
  requestId: response.headers.get("X-Request-ID") ?? "",
  retryAfter: parseInt(response.headers.get("Retry-After"), 10),
});

async function parseJson(response) {
  const text = await orNetworkFailure(response.text());
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

async function failureOf(response) {
  const envelope = await parseJson(response);
  const isEnvelope = typeof envelope?.error === "string";
  const message = isEnvelope && typeof envelope.message === "string" ? envelope.message : "";
  const { resetsAt } = envelope ?? {};
  const code = isEnvelope ? envelope.error.toLowerCase() : "unexpected";
  return new Failure(code, { ...metadata(response), message, resetsAt });
}

/** → the text of the example. */
export async function readExample() {
  const response = await orNetworkFailure(fetch("playground/example.json"));
  return (await readJson(response, (answer) => answer.source_text)).source_text;
}

/** A response of events → {name, id, data} of each, `data` parsed. Throws a Failure at what is none. */
async function* events(response) {
  const unexpected = new Failure("unexpected", metadata(response));
  if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) throw unexpected;
  const source = readEvents(response);
  try {
    for (let next; !(next = await orNetworkFailure(source.next())).done; ) {
      const { name, id, data } = next.value;
      yield { name, id, data: JSON.parse(data) };
    }
  } catch (error) {
    throw error instanceof SyntaxError ? unexpected : error;
  } finally {
    source.return();
  }
  throw new Failure("network"); // it ended before its last event
}

/**
 * Calls `show` with each card of the text as it is written → {dropped, incomplete, language} of the API, `incomplete` also
 * the code of the Failure that ended them. Before the first card a Failure is thrown. `options` are the API's.
 */
export async function generate(token, { source, options }, signal, show) {
  const body = { source_text: source, include: ["grounding"], ...options };
  const headers = { Accept: "text/event-stream" };
  const response = await call("POST", "generations", token, { body, headers, signal });
  let hasShown = false;
  try {
    for await (const { name, data } of events(response)) {
      if (name === "done") return data;
      if (name !== "proposal") continue;
      show(cardOf(data));
      hasShown = true;
    }
  } catch (error) {
    if (!hasShown || !(error instanceof Failure)) throw error;
    return { incomplete: error.code };
  }
}

function cardOf({ front, back, quote, start, end, grounded }) {
  if (typeof front !== "string" || typeof back !== "string") throw new Failure("unexpected");
  return { front, back, quote, start, end, grounded };
}

/** A text, the API's options, an idempotency key → the generation's id. `deck`: the id of a new deck, for a long text. */
export async function startGeneration(token, { source, options, key, deck }, signal) {
  const headers = { "Idempotency-Key": key };
  const body = { source_text: source, ...options };
  const response = await call("POST", deck ? `decks/${deck}/generation` : "ai/generations", token, { body, headers, signal });
  const { generation_id } = await readJson(response, (answer) => answer.generation_id);
  return generation_id;
}

/** → the generation as it is now. */
export async function readGeneration(token, id) {
  return readJson(await call("GET", `ai/generations/${id}`, token), (answer) => answer.status);
}

/**
 * Calls `show` with each card of the generation as it is kept, and the id of its event; those after the event `last`, if
 * it is given → {status, dropped, incomplete, language} once it has ended. A Failure "network" is a stream that broke off.
 */
export async function followGeneration(token, id, { last, signal, show }) {
  const headers = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) };
  const response = await call("GET", `ai/generations/${id}/events`, token, { headers, signal });
  for await (const event of events(response)) {
    if (event.name === "done") return event.data;
    if (event.name === "suggestion") show(keptCardOf(event.data), event.id);
  }
}

export const cancelGeneration = (token, id) => call("DELETE", `ai/generations/${id}`, token);

export const retryGeneration = (token, id) =>
  call("POST", `sessions/ai/${id}/retry`, token, { headers: { Prefer: "respond-async" } });

/** → {generations, next_cursor}, newest first. */
export async function listGenerations(token, cursor) {
  const query = cursor ? `&cursor=${cursor}` : "";
  const response = await call("GET", `ai/generations?limit=10${query}`, token);
  return readJson(response, (answer) => Array.isArray(answer.generations));
}

const DECISIONS = { proposed: "open", accepted: "accepted", accepted_edited: "accepted", rejected: "rejected" };

/** → cards with the decisions that the server has. */
export async function readSuggestions(token, id, signal) {
  const response = await call("GET", `ai/generations/${id}/suggestions`, token, { signal });
  const { suggestions } = await readJson(response, (answer) => Array.isArray(answer.suggestions));
  return suggestions.map(keptCardOf);
}

function keptCardOf(suggestion) {
  const { id, generation_id: generation, status } = suggestion;
  const card = cardOf(suggestion);
  const decision = DECISIONS[status];
  const sent = decision === "accepted" ? { front: card.front, back: card.back } : {};
  return {
    ...card,
    id,
    generation,
    decision,
    edited: status === "accepted_edited",
    sent: { id, status: decision, ...sent },
  };
}

/** [{id, status, front?, back?}] of one generation; all are saved, or none. */
export const review = (token, id, reviews) =>
  call("POST", `ai/generations/${id}/suggestions/review`, token, { body: { reviews } });

/** → {limit, used, reserved, resets_at}; `limit` null where there is no quota. */
export const readUsage = async (token) => parseJson(await call("GET", "usage", token));

/** → {days, since, models, cost_by_day} of the last 30 days. */
export const readStats = async (token) =>
  readJson(await call("GET", "stats", token), (answer) => Array.isArray(answer.models) && Array.isArray(answer.cost_by_day));

/** A card, an idempotency key → the id of its picture's generation. */
export async function startPicture(token, { front, back, key }, signal) {
  const headers = { "Idempotency-Key": key };
  const response = await call("POST", "v1/generations", token, { body: { mode: "illustrate", front, back }, headers, signal });
  const { id } = await readJson(response, (answer) => answer.id);
  return id;
}

/** → {status, variants} as soon as it has ended, or after 25 s. */
export async function readPicture(token, id, signal) {
  const response = await call("GET", `v1/generations/${id}?wait=25`, token, { signal });
  return readJson(response, (answer) => answer.status && Array.isArray(answer.variants));
}

export const cancelPicture = (token, id) => call("PATCH", `v1/generations/${id}`, token, { body: { action: "cancel" } });

export const deletePicture = (token, id) => call("DELETE", `v1/generations/${id}`, token);

/** [{front, back, style?, renderId?}] → Blob of an .apkg file. */
export async function ankiDeck(token, deckName, flashcards) {
  const response = await call("POST", "exports/anki", token, { body: { deck_name: deckName, flashcards } });
  if (response.headers.get("Content-Type")?.startsWith("text/")) {
    throw new Failure("unexpected", metadata(response)); // a proxy's page, not a deck
  }
  return orNetworkFailure(response.blob());
}
