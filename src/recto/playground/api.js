// The calls to the server. Whatever goes wrong becomes a Failure; a cancelled call rejects with the AbortError of
// fetch.

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

/** source_text → [{front, back}], at least one. */
export async function generate(token, sourceText, signal) {
  const response = await call("POST", "generations", token, { body: { source_text: sourceText }, signal });
  const { flashcards_proposals: proposals } = await readJson(response, (answer) => areCards(answer.flashcards_proposals));
  return proposals.map(({ front, back }) => ({ front, back }));
}

const areCards = (cards) =>
  Array.isArray(cards) &&
  cards.length > 0 &&
  cards.every((card) => typeof card?.front === "string" && typeof card.back === "string");

/** source_text, an idempotency key → the generation's id. */
export async function startGeneration(token, sourceText, key, signal) {
  const headers = { "Idempotency-Key": key };
  const response = await call("POST", "ai/generations", token, { body: { source_text: sourceText }, headers, signal });
  const { generation_id } = await readJson(response, (answer) => answer.generation_id);
  return generation_id;
}

/** → {generation, etag} as soon as it differs from `etag`, null if nothing changed for 25 s. */
export async function readGeneration(token, id, etag, signal) {
  const headers = etag ? { "If-None-Match": etag } : {};
  const response = await call("GET", `ai/generations/${id}?wait=${etag ? 25 : 0}`, token, { headers, signal });
  if (response.status === 304) return null;
  const generation = await readJson(response, (answer) => answer.status);
  return { generation, etag: response.headers.get("ETag") ?? "" };
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
  return suggestions.map((card) => {
    const decision = DECISIONS[card.status];
    const sent = decision === "accepted" ? { front: card.front, back: card.back } : {};
    return {
      id: card.id,
      generation: card.generation_id,
      front: card.front,
      back: card.back,
      decision,
      edited: card.status === "accepted_edited",
      sent: { id: card.id, status: decision, ...sent },
    };
  });
}

/** [{id, status, front?, back?}] of one generation; all are saved, or none. */
export const review = (token, id, reviews) =>
  call("POST", `ai/generations/${id}/suggestions/review`, token, { body: { reviews } });

/** → {limit, used, reserved, resets_at}; `limit` null where there is no quota. */
export const readUsage = async (token) => parseJson(await call("GET", "usage", token));

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

/** [{front, back, renderId?}] → Blob of an .apkg file. */
export async function ankiDeck(token, deckName, flashcards) {
  const response = await call("POST", "exports/anki", token, { body: { deck_name: deckName, flashcards } });
  if (response.headers.get("Content-Type")?.startsWith("text/")) {
    throw new Failure("unexpected", metadata(response)); // a proxy's page, not a deck
  }
  return orNetworkFailure(response.blob());
}
