// The two calls that leave this page. Whatever goes wrong becomes a Failure; a cancelled call rejects with
// the AbortError of fetch.

/** `code` is the envelope's `error`, or one of this page's own: no_token, network, unexpected. */
export class Failure extends Error {
  constructor(code, { message = "", status = 0, requestId = "", retryAfter = NaN } = {}) {
    super(message);
    Object.assign(this, { code, status, requestId, retryAfter });
  }
}

async function post(path, token, body, signal) {
  // A header can hold nothing else, and fetch would report it as if the network had failed.
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Failure("no_token");
  const response = await reached(
    fetch(path, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    }),
  );
  if (!response.ok) throw await refusal(response);
  return response;
}

async function reached(promise) {
  try {
    return await promise;
  } catch (error) {
    throw error.name === "AbortError" ? error : new Failure("network");
  }
}

const origin = (response) => ({
  status: response.status,
  requestId: response.headers.get("X-Request-ID") ?? "",
  retryAfter: parseInt(response.headers.get("Retry-After"), 10),
});

async function json(response) {
  const text = await reached(response.text());
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

async function refusal(response) {
  const envelope = await json(response);
  const ours = typeof envelope?.error === "string";
  const message = ours && typeof envelope.message === "string" ? envelope.message : "";
  return new Failure(ours ? envelope.error : "unexpected", { ...origin(response), message });
}

/** source_text → [{front, back}], at least one. */
export async function generate(token, sourceText, signal) {
  const response = await post("generations", token, { source_text: sourceText }, signal);
  const answer = await json(response);
  const proposals = answer?.flashcards_proposals;
  const whole = (card) => typeof card?.front === "string" && typeof card.back === "string";
  if (!Array.isArray(proposals) || !proposals.length || !proposals.every(whole)) {
    throw new Failure("unexpected", origin(response));
  }
  return proposals.map(({ front, back }) => ({ front, back }));
}

/** [{front, back}] → Blob of an .apkg file. */
export async function ankiDeck(token, deckName, flashcards) {
  const response = await post("exports/anki", token, { deck_name: deckName, flashcards });
  if (response.headers.get("Content-Type")?.startsWith("text/")) {
    throw new Failure("unexpected", origin(response)); // a proxy's page is no deck
  }
  return reached(response.blob());
}
