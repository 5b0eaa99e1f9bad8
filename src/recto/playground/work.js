// The learner's work: text, cards and token. It is kept in this tab's sessionStorage, so a reload loses nothing and
// closing the tab leaves nothing behind.

const WORK = "recto.work";
const TOKEN = "recto.token";

function read(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null; // storage is switched off: the page works, but a reload loses the work
  }
}

function write(key, value) {
  try {
    sessionStorage.setItem(key, value);
  } catch {
    // storage is full or switched off: as above
  }
}

// {source, deck, background, study, options, job, cards: [{folio, front, back, quote, start, end, grounded, decision:
// "open" | "accepted" | "rejected", edited, proposed, draft}]}; the four of grounding are the API's, `proposed` is the front
// as it came; for `options` see options.js.
// A card that the server keeps has its `id`, its `generation` and what was last `sent` of it; for `job` see background.js,
// for a card's `picture` pictures.js.
export const work = {
  source: "",
  deck: "Recto",
  background: false,
  study: false,
  options: { count: "", language: "", focus: "", style: "" },
  job: null,
  cards: [],
  ...JSON.parse(read(WORK) ?? "{}"),
};

export const save = () => write(WORK, JSON.stringify(work));

export const accepted = () => work.cards.filter((card) => card.decision === "accepted");

export const characters = (text) => [...text].length; // code points, as the server counts

export const token = () => read(TOKEN) ?? "";

export const keepToken = (value) => write(TOKEN, value.trim().replace(/^Bearer\s+/i, ""));

/** Move the token out of `#token=…`, so that it stays neither in the address bar nor in the history. */
export function takeTokenFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given === null) return;
  keepToken(given);
  history.replaceState(null, "", location.pathname + location.search);
}
