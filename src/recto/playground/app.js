import { Failure, ankiDeck, generate } from "./api.js";
import * as background from "./background.js";
import { duration, explain, hideFailure, showFailure } from "./failures.js";
import { csv, download, readText } from "./files.js";
import { announce, at, before, count, hideNotice, notify, number, on } from "./page.js";
import { refreshPast, registerPast } from "./past.js";
import { sendReviews } from "./review.js";
import { acceptAll, addCards, showCards } from "./table.js";
import { accepted, characters, keepToken, save, takeTokenFromAddress, token, work } from "./work.js";

const LEAST = 1000;
const MOST = 10_000;
const SLOW_S = 30; // the server's own default deadline for its model

// ---- the text

function measure() {
  const length = characters(work.source.trim());
  const fits = length >= LEAST && length <= MOST;
  at("length").textContent = number(length);
  at("gauge").value = length;
  at("sheet").dataset.fit = length > MOST ? "long" : fits ? "good" : "short";
  at("hint").textContent = fits
    ? ""
    : length > MOST
      ? `${number(length - MOST)} too many`
      : length
        ? `${number(LEAST - length)} more to go`
        : `at least ${number(LEAST)}`;
  at("shorten").hidden = length <= MOST;
  at("generate").disabled = !fits || isBusy();
  at("clear").hidden = !work.source && !work.cards.length;
  return fits;
}

function setSource(text) {
  at("source").value = text;
  work.source = at("source").value; // line breaks as the browser keeps them
  measure();
  save();
}

/** The longest beginning that fits, cut after a paragraph, else a sentence, else a word. */
function beginning(text) {
  const head = [...text.trim()].slice(0, MOST).join("");
  const ends = [/[^]*\n(?=\s*\n)/, /[^]*[.!?…。！？]["”’»)]*(?=\s)/, /[^]*(?=\s)/];
  const cut = ends.map((end) => head.match(end)?.[0].trimEnd() ?? "");
  return cut.find((part) => characters(part) >= MOST * 0.8) ?? head;
}

async function openFile(file) {
  const { text, title, advice } = await readText(file);
  if (title) return showFailure({ title, advice });
  hideFailure();
  const { source } = work;
  setSource(text);
  at("source").focus();
  notify(`Opened “${file.name}”.`, source.trim() ? { source } : null);
}

function undo() {
  Object.assign(work, before());
  hideNotice();
  showAll();
  save();
  at("source").focus();
}

// ---- the call

const isBusy = () => Boolean(call) || background.isFollowing();

function fail(error, act) {
  if (!(error instanceof Failure)) throw error;
  tell(explain(error), error, act);
}

function tell(explanation, error, act) {
  showFailure(explanation, act);
  if (error.code === "no_token" || error.code === "unauthorized") at("access").open = true;
}

let call = null;

function makeFlashcards() {
  if (isBusy() || !measure()) return announce(at("hint").textContent);
  hideFailure();
  hideNotice();
  if (work.background) background.start(work.source.trim(), inBackground);
  else waitForFlashcards();
}

async function waitForFlashcards() {
  const controller = (call = new AbortController());
  const clock = showProgress();
  try {
    addCards(await generate(token(), work.source.trim(), controller.signal));
    at("access").open = false;
  } catch (error) {
    if (error.name === "AbortError") {
      notify("Cancelled. Your text is still here; the server may count the request all the same.");
      at("source").focus();
    } else {
      fail(error, makeFlashcards);
    }
  } finally {
    call = null;
    hideProgress(clock);
  }
}

function showProgress(stage = (seconds) => (seconds < SLOW_S ? "Reading your text" : "Still waiting, longer than usual")) {
  const start = Date.now();
  const tick = () => {
    const seconds = Math.floor((Date.now() - start) / 1000);
    at("elapsed").textContent = duration(seconds);
    if (stage) at("stage").textContent = stage(seconds);
  };
  tick();
  at("progress").hidden = false;
  at("cancel").focus();
  measure();
  announce("Reading your text. This can take half a minute.");
  return setInterval(tick, 250);
}

function hideProgress(clock) {
  clearInterval(clock);
  at("progress").hidden = true;
  measure();
}

let clock = 0;
const inBackground = {
  begin() {
    hideFailure();
    at("stage").textContent = "Handing over your text";
    clock = showProgress(null);
  },
  end() {
    hideProgress(clock);
    refreshPast();
  },
  changed: refreshPast,
  fail: tell,
};

// ---- downloads

const fileName = (ending) => `${work.deck.trim() || "Recto"}.${ending}`;
const sides = () => accepted().map(({ front, back }) => ({ front, back }));

function downloadCsv() {
  download(csv(sides()), fileName("csv"));
  announce("CSV downloaded.");
}

async function downloadAnki() {
  if (at("anki").ariaBusy === "true") return;
  hideFailure();
  at("anki").ariaBusy = "true";
  announce("Building the Anki deck.");
  try {
    download(await ankiDeck(token(), work.deck.trim() || "Recto", sides()), fileName("apkg"));
    announce("Anki deck downloaded.");
  } catch (error) {
    fail(error, downloadAnki);
  } finally {
    at("anki").ariaBusy = "false";
  }
}

// ---- wiring

function takeToken() {
  takeTokenFromAddress();
  at("token").value = token();
  at("access").open = !token();
}

function showAll() {
  at("source").value = work.source;
  at("deck").value = work.deck;
  at("background").checked = work.background;
  at("background-note").hidden = !work.background;
  showCards();
  measure();
}

on("source", "input", () => {
  const { fit } = at("sheet").dataset;
  work.source = at("source").value;
  measure();
  save();
  if (fit !== at("sheet").dataset.fit) announce(`${at("count").textContent}. ${at("hint").textContent}`);
});
on("source", "keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) makeFlashcards();
});
on("compose", "submit", (event) => {
  event.preventDefault();
  makeFlashcards();
});
on("shorten", "click", () => {
  const { source } = work;
  setSource(beginning(work.source));
  at("source").focus();
  notify(`Kept the first ${count(characters(work.source), "character")}.`, { source });
});
on("clear", "click", () => {
  const { source, cards } = work;
  Object.assign(work, { source: "", cards: [] });
  hideFailure();
  showAll();
  save();
  at("source").focus();
  notify("Text and cards are cleared.", { source, cards });
});
on("open", "click", () => at("file").click());
on("file", "change", () => {
  const [file] = at("file").files;
  if (file) openFile(file);
  at("file").value = ""; // so that the same file can be chosen again
});
on("cancel", "click", () => (call ? call.abort() : background.cancel(inBackground)));
on("background", "change", () => {
  work.background = at("background").checked;
  at("background-note").hidden = !work.background;
  save();
});
on("dismiss", "click", () => {
  hideFailure();
  at("source").focus();
});
on("undo", "click", undo);
on("close-notice", "click", hideNotice);
on("accept-all", "click", acceptAll);
on("csv", "click", downloadCsv);
on("anki", "click", downloadAnki);
on("deck", "input", () => {
  work.deck = at("deck").value;
  save();
});
on("token", "input", () => keepToken(at("token").value));
registerPast({
  fail: tell,
  busy: isBusy,
  follow: (id) => background.followKnown(id, inBackground),
  retry: (id) => background.retry(id, inBackground),
});

// A file dropped beside the sheet would otherwise replace the page, and the work with it.
for (const type of ["dragover", "dragleave", "drop"]) {
  addEventListener(type, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    at("sheet").classList.toggle("is-target", type === "dragover");
    const [file] = type === "drop" ? event.dataTransfer.files : [];
    if (file) openFile(file);
  });
}
addEventListener("hashchange", takeToken);
addEventListener("beforeunload", (event) => {
  if (call) event.preventDefault(); // leaving now would lose an answer that is already being paid for
});

takeToken();
showAll();
background.follow(inBackground);
sendReviews();
