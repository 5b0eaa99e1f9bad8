import { Failure, generate, newDeck, readExample } from "./api.js";
import * as background from "./background.js";
import { duration, explain, hideFailure, showFailure } from "./failures.js";
import { registerDownloads } from "./downloads.js";
import { readText } from "./files.js";
import { announce, element, count, hideNotice, notify, number, on } from "./page.js";
import { boundCount, chosenOptions, deckCount, hideProblems, renderOptions, showProblems } from "./options.js";
import { refreshPast, registerPast } from "./past.js";
import { makeAll } from "./pictures.js";
import { focusText, write } from "./reading.js";
import { sendReviews } from "./review.js";
import { refreshStats, registerStats } from "./stats.js";
import { acceptAll, addNew, announceArrived, hideOutcome, renderCards } from "./table.js";
import { MAX_DECK_LENGTH, MAX_LENGTH, MIN_LENGTH, isForDeck, shortened, worthCuttingTo } from "./text.js";
import { characters, keepToken, save, takeTokenFromAddress, token, work } from "./work.js";

const SLOW_S = 30; // the server's own default deadline for its model

// ---- the text

function measure() {
  const length = characters(work.source.trim());
  const fits = length >= MIN_LENGTH && length <= MAX_DECK_LENGTH;
  const isDeck = isForDeck(length);
  const most = length > MAX_LENGTH ? MAX_DECK_LENGTH : MAX_LENGTH;
  element("length").textContent = number(length);
  element("most").textContent = number(most);
  Object.assign(element("gauge"), { max: most, value: length });
  element("sheet").dataset.fit = length > most ? "long" : isDeck ? "deck" : fits ? "good" : "short";
  element("hint").textContent = hintFor(length);
  element("shorten").hidden = !worthCuttingTo(length);
  element("generate").disabled = !fits || isBusy();
  element("generate").textContent = isDeck ? "Split into a deck" : "Make flashcards";
  element("switch").hidden = isDeck;
  element("background-note").hidden = !isDeck && !work.background;
  boundCount(length);
  const isEmpty = !work.source && !work.cards.length;
  element("clear").hidden = isEmpty;
  element("example").hidden = element("sample").hidden = !isEmpty;
  return fits;
}

function hintFor(length) {
  if (!length) return `at least ${number(MIN_LENGTH)}`;
  if (length < MIN_LENGTH) return `${number(MIN_LENGTH - length)} more to go`;
  if (length > MAX_DECK_LENGTH) return `${number(length - MAX_DECK_LENGTH)} too many`;
  return isForDeck(length) ? "section by section" : "";
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
  reportFailure(explain(error), error, onRetry);
}

function reportFailure(explanation, error, onRetry) {
  if (error.code === "invalid_request" && showProblems(error.message)) return;
  showFailure(explanation, onRetry);
}

let call = null;

function makeFlashcards() {
  if (isBusy() || !measure()) return announce(element("hint").textContent);
  hideFailure();
  hideNotice();
  hideProblems();
  hideOutcome();
  const asked = request();
  if (work.background || asked.deck) background.start(asked, inBackground);
  else waitForFlashcards(asked);
}

/** What is asked of the server: {source, options}, and for a long text also the `deck` that it becomes. */
function request() {
  const [source, options] = [work.source.trim(), chosenOptions()];
  const length = characters(source);
  if (!isForDeck(length)) return { source, options };
  return { source, options: { count: deckCount(length), ...options }, deck: newDeck() };
}

async function waitForFlashcards(asked) {
  const controller = (call = new AbortController());
  const tally = { arrived: 0, known: 0 };
  const show = (card) => {
    tally[addNew(card) ? "arrived" : "known"] += 1;
    element("access").open = false;
  };
  const clock = showProgress((seconds) =>
    tally.arrived + tally.known ? "Writing cards" : seconds < SLOW_S ? "Reading your text" : "Still waiting, longer than usual",
  );
  try {
    const answer = await generate(token(), asked, controller.signal, show);
    announceArrived(tally, answer, asked.options);
  } catch (error) {
    if (error.name === "AbortError") {
      const kept = tally.arrived ? "The cards that came are" : "Your text is still";
      notify(`Cancelled. ${kept} here; the server may count the request all the same.`);
      if (!tally.arrived) focusText();
    } else {
      fail(error, makeFlashcards);
    }
  } finally {
    call = null;
    hideProgress(clock);
    refreshStats();
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
    hideOutcome();
    element("stage").textContent = "Handing over your text";
    clock = showProgress(null);
  },
  end() {
    hideProgress(clock);
    refreshPast();
    refreshStats();
  },
  changed: refreshPast,
  fail: reportFailure,
};

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
  renderOptions();
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
  setSource(shortened(source, worthCuttingTo(characters(source.trim()))));
  element("source").focus();
  notify(`Kept the first ${count(characters(work.source), "character")}.`, backTo({ source }));
});
on("clear", "click", () => {
  const { source, cards } = work;
  Object.assign(work, { source: "", cards: [] });
  hideFailure();
  hideOutcome();
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
  measure();
  save();
});
on("dismiss", "click", () => {
  hideFailure();
  focusText();
});
on("accept-all", "click", acceptAll);
on("token", "input", () => keepToken(element("token").value));
registerDownloads({ fail });
registerStats({ fail: reportFailure });
registerPast({
  fail: reportFailure,
  isBusy,
  follow: (id, deck) => background.followKnown({ id, deck }, inBackground),
  retry: (id, deck) => background.retry({ id, deck }, inBackground),
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
