import { draw, pieces, toCodePoints } from "./marks.js";

const byId = (id) => document.getElementById(id);
const text = byId("text");
const status = byId("status");

const NUM_COLORS = 8;
const LONG_TEXT = 20000; // characters from which a pause in typing is awaited for longer
const SLICE_MS = 8; // of drawing, before the browser has its turn

const state = { info: null, key: "", labels: [], hidden: new Set(), isCorrecting: false, rows: [], isSaved: true, timer: 0 };
const hiding = new CSSStyleSheet();
document.adoptedStyleSheets = [hiding];

function say(sentence, isWrong = false) {
  status.textContent = sentence;
  status.classList.toggle("wrong", isWrong);
}

const plural = (count, one, many) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

// Requests

async function ask(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const { key } = state;
  if (key) headers["X-API-Key"] = key;
  const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  for (;;) {
    const response = await fetch(path, { ...options, signal, cache: "no-store" });
    if (response.ok) return response.json();
    const { error } = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
    signal?.throwIfAborted();
    if (response.status === 401 && key === state.key) byId("key-form").hidden = false; // unless another was typed since
    const wait = Number(response.headers.get("Retry-After"));
    if (!wait) throw new Error(error);
    say("The server is busy. Trying again.");
    await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
    signal?.throwIfAborted();
  }
}

/** One model's entities of the text. The latest answer wins. */
class Panel {
  constructor(article) {
    this.article = article;
    this.heading = article.querySelector("h2");
    this.drawing = article.querySelector(".drawing");
    this.text = "";
    this.entities = [];
    this.chosen = null;
    this.labels = new Map(); // the element of each entity's label
    this.request = null;
    this.drawing.addEventListener("click", (event) => this.choose(event.target.closest(".label")?.entity ?? null));
    this.drawing.addEventListener("keydown", (event) => this.onKey(event));
  }

  async predict(options) {
    this.request?.abort();
    this.request = new AbortController();
    const { signal } = this.request;
    const answer = await ask("predict", { ...options, offsets: "utf-16", relations: false }, signal);
    signal.throwIfAborted();
    this.show(options.inputs, answer.entities.map((entity) => ({
      start: entity.char_start_index,
      end: entity.char_end_index,
      label: entity.label,
      score: entity.score,
      origin: entity.origin,
      conflict: entity.conflict,
    })));
  }

  show(shown, entities) {
    this.text = shown;
    this.entities = entities;
    this.render();
    this.drawing.removeAttribute("aria-busy");
  }

  /** Draw slice by slice, so that the page never hangs; a newer drawing ends an older one. */
  async render() {
    const turn = (this.turn = {});
    this.labels.clear();
    const kept = this.chosen;
    this.chosen = null;
    const marks = [...this.entities].sort((a, b) => a.start - b.start || a.end - b.end);
    const waiting = pieces(this.text, marks.map((entity) => ({ ...entity, entity })));
    const drawn = [];
    let started = performance.now();
    for (const [index, piece] of waiting.entries()) {
      drawn.push(this.element(piece));
      if (performance.now() - started < SLICE_MS && index < waiting.length - 1) continue;
      if (drawn.length === index + 1) this.drawing.replaceChildren(...drawn);
      else this.drawing.append(...drawn);
      drawn.length = 0;
      if (index < waiting.length - 1) await new Promise((resolve) => setTimeout(resolve));
      if (this.turn !== turn) return;
      started = performance.now();
    }
    if (!waiting.length) this.drawing.replaceChildren();
    if (this.labels.has(kept)) this.choose(kept, true);
  }

  element(piece) {
    const { depth, steps } = draw(this.text, piece.start, piece.end, piece.marks);
    const chunk = document.createElement("div");
    chunk.className = "chunk";
    chunk.dir = "auto";
    chunk.lang = "";
    chunk.start = piece.start;
    chunk.style.setProperty("--depth", depth);
    let inside = chunk;
    for (const [kind, value] of steps) {
      if (kind === "text") inside.append(value);
      else if (kind === "close") inside = inside.parentElement;
      else if (kind === "label") inside.append(this.label(value));
      else {
        const mark = document.createElement("mark");
        mark.className = classOf(value.label);
        mark.style.setProperty("--level", value.level);
        inside.append(mark);
        inside = mark;
      }
    }
    return chunk;
  }

  label({ entity }) {
    const label = document.createElement("bdi");
    label.className = `label ${classOf(entity.label)}`;
    label.textContent = entity.label;
    label.entity = entity;
    if (entity.score !== undefined) {
      label.title = `${entity.label}${this.details(entity)}`;
      const score = document.createElement("span");
      score.className = "score";
      score.textContent = ` ${entity.score.toFixed(2)}`;
      label.append(score);
    }
    this.labels.set(entity, label);
    return label;
  }

  /** The score of an entity, where it is from, and what other mentions say. */
  details({ score, origin, conflict }) {
    if (score === undefined) return "";
    const source = { rule: `, from the rule ${origin?.rule}`, mention: ", from another mention" }[origin?.kind] ?? "";
    const other = conflict ? `, elsewhere ${conflict.label} (${conflict.score.toFixed(3)})` : "";
    return `, score ${score.toFixed(3)}${source}${other}`;
  }

  choose(entity, isQuiet = false) {
    this.labels.get(this.chosen)?.classList.remove("chosen");
    this.chosen = entity;
    const label = this.labels.get(entity);
    if (!label) return updateEditor();
    label.classList.add("chosen");
    label.scrollIntoView({ block: "nearest" });
    updateEditor();
    if (isQuiet) return;
    say(`${entity.label}: ${this.text.slice(entity.start, entity.end)}${this.details(entity)}`);
    byId("new-label").value = entity.label;
  }

  onKey(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step && !event.shiftKey && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const shown = [...this.labels.keys()].filter((entity) => !state.hidden.has(entity.label));
      if (!shown.length) return;
      const place = shown.indexOf(this.chosen);
      const next = place < 0 ? (step > 0 ? 0 : shown.length - 1) : place + step;
      if (next >= 0 && next < shown.length) this.choose(shown[next]);
      event.preventDefault();
    } else if (event.key === "Escape") {
      this.choose(null);
    } else if (state.isCorrecting && (event.key === "Delete" || event.key === "Backspace")) {
      event.preventDefault();
      removeChosen();
    } else if (state.isCorrecting && event.key === "Enter" && this.chosen) {
      event.preventDefault();
      byId("new-label").focus();
      byId("new-label").select();
    }
  }

  /** Code points, as in Python. */
  places() {
    const places = toCodePoints(this.text, this.entities.flatMap((entity) => [entity.start, entity.end]));
    return this.entities.map((entity, index) => [entity, places[2 * index], places[2 * index + 1]]);
  }
}

const panels = [...document.querySelectorAll(".panel")].map((article) => new Panel(article));
const [first, second] = panels;

// What is shown

function numberOf(label) {
  if (!state.labels.includes(label)) state.labels.push(label);
  return state.labels.indexOf(label);
}

function classOf(label) {
  const number = numberOf(label);
  return `c${number % NUM_COLORS} l${number}`;
}

function hideLabels() {
  const rules = [...state.hidden].map((label) => `.chunk .l${numberOf(label)} { --hue: transparent; --shown: none; }`);
  hiding.replaceSync(rules.join("\n"));
}

function listLabels() {
  const shown = panels.filter((panel) => !panel.article.hidden);
  const counts = new Map();
  for (const model of state.info?.models ?? []) {
    if (shown.some((panel) => panel.model === model.name)) for (const label of model.labels) counts.set(label, 0);
  }
  for (const { label } of first.entities) counts.set(label, (counts.get(label) ?? 0) + 1);
  const names = [...counts.keys()].sort();
  byId("labels").hidden = !names.length;
  byId("known-labels").replaceChildren(...names.map((name) => Object.assign(document.createElement("option"), { value: name })));
  const list = byId("label-list");
  const known = new Map([...list.children].map((item) => [item.name, item]));
  list.replaceChildren(...names.map((name) => {
    const item = known.get(name) ?? labelSwitch(name);
    item.querySelector(".count").textContent = counts.get(name).toLocaleString("en");
    return item;
  }));
}

function labelSwitch(name) {
  const item = document.createElement("label");
  item.name = name;
  const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: !state.hidden.has(name) });
  const chip = Object.assign(document.createElement("bdi"), { className: `label ${classOf(name)}`, textContent: name });
  const count = Object.assign(document.createElement("span"), { className: "count" });
  box.addEventListener("change", () => {
    if (box.checked) state.hidden.delete(name);
    else state.hidden.add(name);
    hideLabels();
  });
  item.append(box, chip, count);
  return item;
}

function setAllLabels(isShown) {
  for (const item of byId("label-list").children) {
    item.querySelector("input").checked = isShown;
    if (isShown) state.hidden.delete(item.name);
    else state.hidden.add(item.name);
  }
  hideLabels();
}

// Typing

function chosenOptions() {
  const options = {};
  if (byId("use-threshold").checked) options.threshold = Number(byId("threshold").value);
  if (byId("decoding").value) options.decoding = byId("decoding").value;
  if (byId("propagate").checked) options.propagate = true;
  return options;
}

function wellFormed(string) {
  return string.toWellFormed ? string.toWellFormed() : string;
}

function markOutOfDate() {
  for (const panel of panels) panel.drawing.setAttribute("aria-busy", "true");
}

function later() {
  clearTimeout(state.timer);
  markOutOfDate();
  state.timer = setTimeout(update, text.value.length > LONG_TEXT ? 600 : 150);
}

async function update() {
  clearTimeout(state.timer);
  markOutOfDate();
  const inputs = wellFormed(text.value);
  const models = [byId("model-1").value, byId("model-2").value];
  panels.forEach((panel, index) => {
    panel.model = models[index] || (index ? "" : state.info?.models[0].name);
    panel.heading.textContent = panel.model;
    panel.heading.hidden = !models[1];
  });
  second.article.hidden = !models[1];
  byId("panels").classList.toggle("two", Boolean(models[1]));
  const active = panels.filter((panel) => !panel.article.hidden);
  if (!models[1]) second.request?.abort();
  if (!inputs.trim()) {
    for (const panel of panels) {
      panel.request?.abort();
      panel.show("", []);
    }
    listLabels();
    say("Type a text.");
    return;
  }
  const started = performance.now();
  try {
    const requests = active.map((panel) => panel.predict({ inputs, ...chosenOptions(), ...(panel.model && { model: panel.model }) }));
    await Promise.all(requests);
    second.drawing.removeAttribute("aria-busy");
    const took = Math.round(performance.now() - started);
    const counts = active.map((panel) => plural(panel.entities.length, "entity", "entities"));
    say(`${counts.join(" and ")}, in ${took.toLocaleString("en")} ms`);
    listLabels();
    updateEditor();
  } catch (error) {
    if (error.name === "AbortError") return;
    for (const panel of panels) panel.drawing.removeAttribute("aria-busy");
    say(error instanceof TypeError ? "The server does not answer." : `${error.message[0].toUpperCase()}${error.message.slice(1)}.`, true);
  }
}

function setText(value) {
  setCorrecting(false);
  text.value = value;
  update();
}

async function openFile(file) {
  const limit = state.info?.limits.max_body ?? Infinity;
  if (file.size > limit) return say(`${file.name} has more than ${limit.toLocaleString("en")} bytes, the limit of this server.`, true);
  const content = new TextDecoder("utf-8", { fatal: true });
  try {
    setText(content.decode(await file.arrayBuffer()));
  } catch {
    say(`${file.name} is no text in UTF-8.`, true);
  }
}

// Links and copies

async function copy(value, what) {
  try {
    await navigator.clipboard.writeText(value);
    say(`Copied ${what}.`);
  } catch {
    say(`The browser did not let the page copy ${what}.`, true);
  }
}

function link() {
  const options = new URLSearchParams({ ...chosenOptions(), text: wellFormed(text.value) });
  if (byId("model-1").selectedIndex > 0) options.set("model", byId("model-1").value);
  if (byId("model-2").value) options.set("compare", byId("model-2").value);
  return `${location.href.split("#")[0]}#${options}`;
}

function readLink() {
  const options = new URLSearchParams(location.hash.slice(1));
  if (!options.has("text")) return;
  const threshold = options.get("threshold");
  byId("use-threshold").checked = threshold !== null;
  if (threshold !== null) byId("threshold").value = threshold;
  for (const [id, name] of [["decoding", "decoding"], ["model-1", "model"], ["model-2", "compare"]]) {
    const select = byId(id);
    const wanted = [...select.options].findIndex((option) => option.value === (options.get(name) ?? ""));
    select.selectedIndex = Math.max(wanted, 0);
  }
  byId("propagate").checked = options.has("propagate");
  showThreshold();
  setText(options.get("text"));
}

/** Where a label is from, with places in code points. */
function countOrigin(origin) {
  const names = ["char_start_index", "char_end_index"].filter((name) => name in origin);
  const places = toCodePoints(first.text, names.map((name) => origin[name]));
  return { ...origin, ...Object.fromEntries(names.map((name, index) => [name, places[index]])) };
}

function asJson() {
  const entities = first.places().map(([entity, start, end]) => ({
    span: first.text.slice(entity.start, entity.end),
    label: entity.label,
    ...(entity.score !== undefined && { score: entity.score }),
    char_start_index: start,
    char_end_index: end,
    ...(entity.origin && { origin: countOrigin(entity.origin) }),
    ...(entity.conflict && { conflict: { ...entity.conflict, origin: countOrigin(entity.conflict.origin) } }),
  }));
  return JSON.stringify({ text: first.text, entities });
}

function showThreshold() {
  const isUsed = byId("use-threshold").checked;
  byId("threshold").disabled = !isUsed;
  byId("threshold-shown").textContent = isUsed ? Number(byId("threshold").value).toFixed(2) : "model's own";
}

// Corrections

function setCorrecting(isOn) {
  state.isCorrecting = isOn;
  byId("correct").setAttribute("aria-pressed", isOn);
  byId("editor").hidden = !isOn;
  text.readOnly = isOn;
  for (const element of byId("options").querySelectorAll("input:not(#scores), select")) element.disabled = isOn;
  if (!isOn) showThreshold();
  else if (wellFormed(text.value) !== first.text) update();
  if (isOn && !byId("new-label").value) byId("new-label").value = state.info?.models[0].labels[0] ?? "";
  updateEditor();
}

function updateEditor() {
  byId("change").disabled = byId("remove").disabled = !first.chosen;
  byId("download").disabled = !state.rows.length;
  byId("download").textContent = state.rows.length ? `Download ${plural(state.rows.length, "text", "texts")}` : "Download";
}

/** The selected part of the text, in the field or in the drawing, without white space at its edges. */
function selected() {
  let start = text.selectionStart;
  let end = text.selectionEnd;
  const selection = getSelection();
  if (document.activeElement !== text && selection.rangeCount && first.drawing.contains(selection.anchorNode)) {
    const range = selection.getRangeAt(0);
    [start, end] = [placeOf(range.startContainer, range.startOffset), placeOf(range.endContainer, range.endOffset)];
  }
  while (start < end && /\s/u.test(first.text[start])) start++;
  while (start < end && /\s/u.test(first.text[end - 1])) end--;
  return [start, end];
}

/** The place in the text of a place in the drawing: labels do not count. */
function placeOf(node, offset) {
  const chunk = (node.nodeType === Node.TEXT_NODE ? node.parentElement : node).closest(".chunk");
  if (!chunk) {
    const next = first.drawing.children[offset];
    return next ? next.start : first.text.length;
  }
  const range = document.createRange();
  range.selectNodeContents(chunk);
  range.setEnd(node, offset);
  const part = range.cloneContents();
  for (const label of part.querySelectorAll(".label")) label.remove();
  return chunk.start + part.textContent.length;
}

function setEntities(entities, chosen, sentence) {
  first.chosen = chosen;
  first.show(first.text, entities);
  listLabels();
  updateEditor();
  say(sentence);
}

function addSelection() {
  const [start, end] = selected();
  const label = byId("new-label").value.trim();
  if (start >= end) return say("Select the words of the entity first.", true);
  if (!label) return say("Choose a label first.", true);
  if (first.entities.some((other) => other.start === start && other.end === end && other.label === label)) {
    return say("This entity is there already.", true);
  }
  const entity = { start, end, label };
  setEntities([...first.entities, entity], entity, `Added ${label}: ${first.text.slice(start, end)}`);
}

function changeChosen() {
  const label = byId("new-label").value.trim();
  if (!first.chosen || !label) return;
  const { start, end } = first.chosen;
  const entity = { start, end, label };
  const isOther = (other) => other !== first.chosen && (other.start !== start || other.end !== end || other.label !== label);
  setEntities([...first.entities.filter(isOther), entity], entity, `Changed to ${label}: ${first.text.slice(start, end)}`);
  first.drawing.focus();
}

function removeChosen() {
  const { chosen } = first;
  if (!chosen) return;
  const kept = first.entities.filter((other) => other !== chosen);
  setEntities(kept, null, `Removed ${chosen.label}: ${first.text.slice(chosen.start, chosen.end)}`);
}

function keepText() {
  const entities = first.places().map(([entity, start, end]) => ({ label: entity.label, start, end }));
  entities.sort((a, b) => a.start - b.start || a.end - b.end);
  state.rows = state.rows.filter((row) => row.text !== first.text);
  state.rows.push({ text: first.text, entities });
  state.isSaved = false;
  updateEditor();
  say(`Kept. ${plural(state.rows.length, "text", "texts")} to download.`);
}

function download() {
  const lines = state.rows.map((row) => `${JSON.stringify(row)}\n`);
  const url = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
  Object.assign(document.createElement("a"), { href: url, download: "corrections.jsonl" }).click();
  state.isSaved = true;
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// Events

text.addEventListener("input", later);
byId("open").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", (event) => {
  if (event.target.files.length) openFile(event.target.files[0]);
  event.target.value = "";
});
byId("link").addEventListener("click", () => {
  history.replaceState(null, "", link());
  copy(location.href, "a link that holds the text, which is not sent to the server when the link is opened");
});
byId("json").addEventListener("click", () => copy(asJson(), "the entities as JSON"));
byId("correct").addEventListener("click", () => setCorrecting(!state.isCorrecting));
byId("use-threshold").addEventListener("change", () => {
  showThreshold();
  later();
});
byId("threshold").addEventListener("input", () => {
  showThreshold();
  later();
});
for (const id of ["decoding", "propagate", "model-1", "model-2"]) byId(id).addEventListener("change", later);
byId("scores").addEventListener("change", (event) => document.body.classList.toggle("scores", event.target.checked));
byId("all").addEventListener("click", () => setAllLabels(true));
byId("none").addEventListener("click", () => setAllLabels(false));
byId("add").addEventListener("mousedown", (event) => event.preventDefault()); // the selection stays
byId("add").addEventListener("click", addSelection);
byId("change").addEventListener("click", changeChosen);
byId("remove").addEventListener("click", removeChosen);
byId("keep").addEventListener("click", keepText);
byId("download").addEventListener("click", download);
byId("new-label").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && first.chosen) changeChosen();
});
for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
byId("key-form").addEventListener("submit", () => {
  state.key = byId("key").value;
  byId("key").value = "";
  byId("key-form").hidden = true;
  start();
});
addEventListener("hashchange", readLink);
addEventListener("beforeunload", (event) => {
  if (!state.isSaved) event.preventDefault();
});
let depth = 0;
addEventListener("dragenter", (event) => {
  event.preventDefault();
  depth++;
  document.body.classList.add("dropping");
});
addEventListener("dragleave", () => {
  if (!--depth) document.body.classList.remove("dropping");
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  depth = 0;
  document.body.classList.remove("dropping");
  if (!event.dataTransfer.files.length) return; // a text, which the field takes by itself
  event.preventDefault();
  openFile(event.dataTransfer.files[0]);
});

async function start() {
  try {
    state.info = await ask("info");
  } catch (error) {
    return say(error instanceof TypeError ? "The server does not answer." : `${error.message}.`, true);
  }
  const names = state.info.models.map((model) => model.name);
  for (const label of [...new Set(state.info.models.flatMap((model) => model.labels))].sort()) numberOf(label);
  const option = (name) => new Option(name, name);
  byId("model-1").replaceChildren(...names.map(option));
  byId("model-2").replaceChildren(new Option("no other", ""), ...names.map(option));
  for (const part of document.querySelectorAll(".models")) part.hidden = names.length < 2;
  if (location.hash) readLink();
  if (text.value) update();
}

start();
