// What the user's cards cost a day, and what was kept of each model's: GET /stats, drawn, and as tables.

import { Failure, readStats } from "./api.js";
import { explain } from "./failures.js";
import { count, dollars, element, number, on } from "./page.js";
import { token } from "./work.js";

const SVG = "http://www.w3.org/2000/svg";
const DAY_MS = 24 * 60 * 60 * 1000;
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });
const FATES = ["accepted_unedited", "accepted_edited", "rejected"]; // of a card, in the order in which they are drawn

let page = null; // {fail}

/** Load the figures again if they are shown. */
export async function refreshStats() {
  if (!element("stats").open || !token()) return;
  try {
    const { days, since, cost_by_day: costs, models } = await readStats(token());
    const made = byModel(models);
    element("no-stats").hidden = Boolean(made.length);
    element("figures").hidden = !made.length;
    showCosts(days, Date.parse(since), new Map(costs.map(({ date, cost_usd }) => [date, cost_usd])));
    element("models").replaceChildren(...made.map(modelRow));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    page.fail(explain(error), error, refreshStats);
  }
}

function drawing(width, height, shapes) {
  const root = document.createElementNS(SVG, "svg");
  root.setAttribute("viewBox", `0 0 ${width} ${height}`);
  root.setAttribute("preserveAspectRatio", "none");
  for (const { name, title, ...places } of shapes) {
    const shape = document.createElementNS(SVG, "rect");
    for (const [attribute, value] of Object.entries(places)) shape.setAttribute(attribute, value);
    shape.classList.add(name);
    if (title) shape.append(Object.assign(document.createElementNS(SVG, "title"), { textContent: title }));
    root.append(shape);
  }
  return root;
}

function tableRow(head, ...cells) {
  const row = document.createElement("tr");
  const first = Object.assign(document.createElement("th"), { scope: "row" });
  first.append(...[head].flat());
  row.append(first, ...cells.map((textContent) => Object.assign(document.createElement("td"), { textContent })));
  return row;
}

/** The dollars of each day, from the day that begins at `since`. */
function showCosts(days, since, costs) {
  const times = Array.from({ length: days }, (_, at) => since + at * DAY_MS);
  const all = times.map((time) => ({ time, cost: costs.get(new Date(time).toISOString().slice(0, 10)) ?? 0 }));
  const highest = Math.max(...all.map(({ cost }) => cost));
  const total = all.reduce((sum, { cost }) => sum + cost, 0);
  element("cost-total").textContent = `${dollars(total)} in ${count(days, "day")}`;
  element("cost-chart").hidden = !highest;
  const bars = all.map(({ time, cost }, x) => ({
    name: "bar",
    title: `${day.format(time)}: ${dollars(cost)}`,
    x: x + 0.15,
    y: 1 - cost / (highest || 1),
    width: 0.7,
    height: cost / (highest || 1),
  }));
  const chart = drawing(days, 1, bars);
  chart.setAttribute("role", "img");
  chart.setAttribute("aria-label", `Cost a day; the highest is ${dollars(highest)}. The table has each.`);
  element("cost-bars").replaceChildren(chart);
  element("cost-highest").textContent = dollars(highest);
  element("cost-first").textContent = day.format(times[0]);
  element("cost-last").textContent = day.format(times.at(-1));
  const paid = all.filter(({ cost }) => cost).reverse();
  element("costs").replaceChildren(...paid.map(({ time, cost }) => tableRow(day.format(time), dollars(cost))));
}

/** The API's figures of each model, prompt version and language → those of each model that made cards, by their number. */
function byModel(all) {
  const sums = new Map();
  for (const figures of all) {
    const sum = sums.get(figures.model) ?? { model: figures.model, cost_usd: 0 };
    sum.cost_usd += figures.cost_usd ?? 0;
    for (const name of ["proposed", ...FATES]) sum[name] = (sum[name] ?? 0) + figures[name];
    sums.set(figures.model, sum);
  }
  return [...sums.values()].filter(({ proposed }) => proposed).sort((a, b) => b.proposed - a.proposed);
}

function modelRow({ model, proposed, cost_usd: cost, ...fates }) {
  let end = 0;
  const shares = FATES.map((name) => {
    end += fates[name];
    return { name, x: end - fates[name], y: 0, width: fates[name], height: 1 };
  });
  const bar = drawing(proposed, 1, shares);
  bar.setAttribute("aria-hidden", "true"); // its row says the same
  const kept = fates.accepted_unedited + fates.accepted_edited;
  const figures = FATES.map((name) => number(fates[name]));
  return tableRow([model, bar], number(proposed), ...figures, kept ? dollars(cost / kept) : "–");
}

/** `actions`: {fail(explanation, error, onRetry)}. */
export function registerStats(actions) {
  page = actions;
  on("stats", "toggle", refreshStats);
}
