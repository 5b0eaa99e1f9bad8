import { Failure, ankiDeck, generate, readExample } from "./api.js";
import * as background from "./background.js";
import { duration, explain, hideFailure, showFailure } from "./failures.js";
import { csv, download, readText } from "./files.js";
import { announce, element, count, hideNotice, notify, number, on } from "./page.js";
import { refreshPast, registerPast } from "./past.js";
import { makeAll } from "./pictures.js";
import { focusText, write } from "./reading.js";
import { sendReviews } from "./review.js";
import { acceptAll, addCards, announceArrived, renderCards, showIncomplete } from "./table.js";
import { MAX_LENGTH, MIN_LENGTH, shortened } from "./text.js";
import { accepted, characters, keepToken, save, takeTokenFromAddress, token, work } from "./work.js";

const SLOW_S = 30; // the server's own default deadline for its model

// ---- the text

function measure() {
  const length = characters(work.source.trim());
  const fits = length >= MIN_LENGTH && length <= MAX_LENGTH;
  element("length").textContent = number(length);
  element("gauge").value = length;
  element("sheet").dataset.fit = length > MAX_LENGTH ? "long" : fits ? "good" : "short";
  element("hint").textContent = fits
    ? ""
    : length > MAX_LENGTH
      ? `${number(length - MAX_LENGTH)} too many`
      : length
        ? `${number(MIN_LENGTH - length)} more to go`
        : `at least ${number(MIN_LENGTH)}`;
  element("shorten").hidden = length <= MAX_LENGTH;
  element("generate").disabled = !fits || isBusy();
  const isEmpty = !work.source && !work.cards.length;
  element("clear").hidden = isEmpty;
  element("example").hidden = element("sample").hidden = !isEmpty;
  return fits;
}

function setSource(text) {
  write(true);
  element("source").value = text;
  work.source = element("source").value; // line breaks as the browser keeps them
  measure();
  save();
}

async function openFile(file) {
  const { text, title, advice } = await readText(file);
  if (title) return showFailure({ title, advice });
  hideFailure();
  const { source } = work;
  setSource(text);
  element("source").focus();
  notify(`Opened “${file.name}”.`, source.trim() ? backTo({ source }) : {});
}

/** A notice's way back to these fields of `work`. */
function backTo(fields) {
  const undo = () => {
    Object.assign(work, fields);
    render();
    save();
    focusText();
  };
  return { undo };
}

async function tryExample() {
  try {
    setSource(await readExample());
    element("generate").focus();
  } catch (error) {
    fail(error, tryExample);
  }
}

// ---- the call

const isBusy = () => Boolean(call) || background.isFollowing();

function fail(error, onRetry) {
  if (!(error instanceof Failure)) throw error;
  showFailure(explain(error), onRetry);
}

const reportFailure = (explanation, _error, onRetry) => showFailure(explanation, onRetry);

let call = null;

function makeFlashcards() {
  if (isBusy() || !measure()) return announce(element("hint").textContent);
  hideFailure();
  hideNotice();
  showIncomplete("");
  if (work.background) background.start(work.source.trim(), inBackground);
  else waitForFlashcards();
}

async function waitForFlashcards() {
  const controller = (call = new AbortController());
  let arrived = 0;
  const show = (card) => {
    addCards([card]);
    arrived += 1;
    element("access").open = false;
  };
  const clock = showProgress((seconds) =>
    arrived ? "Writing cards" : seconds < SLOW_S ? "Reading your text" : "Still waiting, longer than usual",
  );
  try {
    const incomplete = await generate(token(), work.source.trim(), controller.signal, show);
    announceArrived(arrived, incomplete);
  } catch (error) {
    if (error.name === "AbortError") {
      const kept = arrived ? "The cards that came are" : "Your text is still";
      notify(`Cancelled. ${kept} here; the server may count the request all the same.`);
      if (!arrived) focusText();
    } else {
      fail(error, makeFlashcards);
    }
  } finally {
    call = null;
    hideProgress(clock);
  }
}

/** Show how long it takes, and what `stage(seconds)` says, unless it is null. */
function showProgress(stage) {
  const start = Date.now();
  const update = () => {
    const seconds = Math.floor((Date.now() - start) / 1000);
    element("elapsed").textContent = duration(seconds);
    if (stage) element("stage").textContent = stage(seconds);
  };
  update();
  element("progress").hidden = false;
  element("cancel").focus();
  measure();
  announce("Reading your text. This can take half a minute.");
  return setInterval(update, 250);
}

function hideProgress(clock) {
  clearInterval(clock);
  element("progress").hidden = true;
  measure();
}

let clock = 0;
const inBackground = {
  begin() {
    hideFailure();
    showIncomplete("");
    element("stage").textContent = "Handing over your text";
    clock = showProgress(null);
  },
  end() {
    hideProgress(clock);
    refreshPast();
  },
  changed: refreshPast,
  fail: reportFailure,
};

// ---- downloads

const fileName = (ending) => `${work.deck.trim() || "Recto"}.${ending}`;

function downloadCsv() {
  hideNotice(); // what is downloaded is decided
  download(csv(accepted()), fileName("csv"));
  announce("CSV downloaded.");
}

async function downloadAnki() {
  if (element("anki").ariaBusy === "true") return;
  hideFailure();
  hideNotice();
  element("anki").ariaBusy = "true";
  announce("Building the Anki deck.");
  const cards = accepted().map(({ front, back, picture }) => ({ front, back, renderId: picture?.renderId }));
  try {
    download(await ankiDeck(token(), work.deck.trim() || "Recto", cards), fileName("apkg"));
    announce("Anki deck downloaded.");
  } catch (error) {
    fail(error.code === "not_found" ? new Failure("picture_gone", error) : error, downloadAnki);
  } finally {
    element("anki").ariaBusy = "false";
  }
}

// ---- wiring

function readTokenFromAddress() {
  takeTokenFromAddress();
  element("token").value = token();
  element("access").open = !token();
}

function render() {
  element("source").value = work.source;
  element("deck").value = work.deck;
  element("background").checked = work.background;
  element("background-note").hidden = !work.background;
  renderCards();
  measure();
  makeAll();
}

on("source", "input", () => {
  const { fit } = element("sheet").dataset;
  work.source = element("source").value;
  measure();
  save();
  if (fit !== element("sheet").dataset.fit) announce(`${element("count").textContent}. ${element("hint").textContent}`);
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
  setSource(shortened(work.source));
  element("source").focus();
  notify(`Kept the first ${count(characters(work.source), "character")}.`, backTo({ source }));
});
on("clear", "click", () => {
  const { source, cards } = work;
  Object.assign(work, { source: "", cards: [] });
  hideFailure();
  showIncomplete("");
  render();
  save();
  element("source").focus();
  notify("Text and cards are cleared.", backTo({ source, cards }));
});
on("example", "click", tryExample);
on("open", "click", () => element("file").click());
on("file", "change", () => {
  const [file] = element("file").files;
  if (file) openFile(file);
  element("file").value = ""; // so that the same file can be chosen again
});
on("cancel", "click", () => (call ? call.abort() : background.cancel(inBackground)));
on("background", "change", () => {
  work.background = element("background").checked;
  element("background-note").hidden = !work.background;
  save();
});
on("dismiss", "click", () => {
  hideFailure();
  focusText();
});
on("accept-all", "click", acceptAll);
on("csv", "click", downloadCsv);
on("anki", "click", downloadAnki);
on("deck", "input", () => {
  work.deck = element("deck").value;
  save();
});
on("token", "input", () => keepToken(element("token").value));
registerPast({
  fail: reportFailure,
  isBusy,
  follow: (id) => background.followKnown(id, inBackground),
  retry: (id) => background.retry(id, inBackground),
});

// A file dropped beside the text field would otherwise replace the page.
for (const type of ["dragover", "dragleave", "drop"]) {
  addEventListener(type, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    element("sheet").classList.toggle("is-target", type === "dragover");
    const [file] = type === "drop" ? event.dataTransfer.files : [];
    if (file) openFile(file);
  });
}
addEventListener("hashchange", readTokenFromAddress);
addEventListener("beforeunload", (event) => {
  if (call) event.preventDefault(); // leaving now would lose an answer that is being paid for
});

readTokenFromAddress();
render();
background.follow(inBackground);
sendReviews();
