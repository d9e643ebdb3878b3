// The reading page: log in, start a round, read case after case, finish.

import { Clock } from "./clock.js";
import { chooseLanguage, fill, language, LANGUAGES, loadPhrases } from "./phrases.js";
import { call, chunksOf, sendPending, sendScore } from "./server.js";
import { Viewer } from "./viewer.js";
import { Volume } from "./volume.js";

const KEEP_TIME = 10000; // ms between reports of the reading time
const $ = (id) => document.getElementById(id);
const at = { state: null, case: null, chosen: null, busy: false, paused: false, next: null };
const clock = new Clock();
let phrases;
let viewer;

const say = (name, values = {}) => fill(phrases[name] ?? name, values);

function element(tag, words, className) {
  const made = document.createElement(tag);
  if (words !== undefined) made.textContent = words;
  if (className) made.className = className;
  return made;
}

async function begin() {
  await speak(language());
  viewer = new Viewer($("viewer"), { phrases, keys: false });
  listen();
  const token = location.hash.slice(1);
  try {
    if (token) {
      history.replaceState(null, "", "/");
      await call("/api/login", { token });
    }
    await refresh();
    await sendPending(trouble);
    await refresh();
  } catch (error) {
    fail(error);
  }
  document.body.dataset.ready = "true";
}

/** Ask where the reader stands, and show it. */
async function refresh() {
  at.state = await call("/api/state");
  $("logout").hidden = false;
  $("title").textContent = at.state.reader;
  buildScale();
  const { stage } = at.state;
  if (stage === "running") await showNext();
  else if (stage === "ready") showReady();
  else if (stage === "waiting") showWaiting();
  else message({ title: say("all_done"), text: [say("all_done_text")] });
}

function roundName(round) {
  if (round === 0) return say("training");
  const several = at.state.rounds.filter((one) => one > 0).length > 1;
  return several ? say("session", { number: round }) : say("one_session");
}

function showReady() {
  const { round, design, cases, positive } = at.state;
  const kind = round === 0 ? "training" : design === "two_sessions" ? `two_${round}` : design;
  message({
    title: roundName(round),
    text: [say(`ready_${kind}`), say("ready_scale", { positive }), say("ready_cases", { cases })],
    action: [say("start"), start],
  });
}

async function start() {
  try {
    await call("/api/start", { round: at.state.round });
    await refresh();
  } catch (error) {
    fail(error);
  }
}

function showWaiting() {
  message({
    title: roundName(at.state.round),
    text: [say("waiting", { date: dateOf(at.state.until) }), say("waiting_text")],
  });
}

const dateOf = (seconds) =>
  new Date(seconds * 1000).toLocaleString(language(), { dateStyle: "long", timeStyle: "short" });

/** A card instead of a case. */
function message({ title, text, action, second }) {
  leaveCase();
  $("reading").hidden = true;
  $("message").hidden = false;
  for (const id of ["pause", "done"]) $(id).hidden = true;
  $("position").textContent = "";
  $("message-title").textContent = title;
  $("message-text").replaceChildren(...text.map((words) => element("p", words)));
  for (const [id, entry] of [["message-action", action], ["message-second", second]]) {
    $(id).hidden = !entry;
    if (entry) [$(id).textContent, $(id).onclick] = entry;
  }
  (action ? $("message-action") : $("message-title")).focus();
}

/** The first case without a score, or the end of the round. */
async function showNext() {
  const { items } = at.state;
  const open = items.findIndex((one) => !one.done);
  if (open >= 0) return showCase(open);
  message({
    title: say("complete"),
    text: [say("complete_text", { cases: items.length })],
    action: [say("finish"), finish],
    second: [say("back"), () => showCase(items.length - 1, "back")],
  });
}

async function finish() {
  try {
    await call("/api/finish", { round: at.state.round });
    await refresh();
  } catch (error) {
    fail(error);
  }
}

/** Show a case of the round, by its place in the order from 0. */
async function showCase(place, act) {
  try {
    const { item } = at.state.items[place];
    if (act) await call("/api/log", { act, item });
    const prepared = at.next?.item === item ? await at.next.ready.catch(() => null) : null;
    leaveCase();
    if (at.next && !prepared) at.next.ready.then(({ volume }) => volume.stop()).catch(() => {});
    at.next = null;
    delete document.body.dataset.next;
    const { content, volume } = prepared ?? (await prepare(item));
    Object.assign(at, { case: content, place, chosen: content.scores[content.session] ?? null });
    $("message").hidden = true;
    $("reading").hidden = false;
    for (const id of ["pause", "done"]) $(id).hidden = false;
    describe(content);
    const loaded = viewer.show(volume);
    viewer.views[0].canvas.focus();
    clock.begin(content.seconds[content.session] ?? 0);
    keepTime();
    trouble(null);
    document.body.dataset.shown = `${item} ${content.session}`;
    loaded.then(() => prefetch(place + 1)).catch(fail);
  } catch (error) {
    fail(error);
  }
}

async function prepare(item) {
  const content = await call(`/api/cases/${item}`);
  return { content, volume: new Volume(content.image, chunksOf(item)) };
}

/** Load the next case while this one is read. */
function prefetch(place) {
  const next = at.state.items[place];
  if (!next || next.done || at.next?.item === next.item || at.place + 1 !== place) return;
  const ready = prepare(next.item).then((prepared) => {
    const whole = prepared.volume.load();
    whole.then(() => (document.body.dataset.next = "loaded")).catch(() => {});
    return prepared;
  });
  ready.catch(() => {});
  at.next = { item: next.item, ready };
}

function leaveCase() {
  if (at.case) keepTime();
  if (viewer.volume) viewer.volume.stop();
  viewer.clear();
  clock.stop();
  Object.assign(at, { case: null, chosen: null });
}

function keepTime() {
  if (!at.case || at.busy) return;
  const body = { session: at.case.session, seconds: clock.seconds };
  call(`/api/cases/${at.case.item}/time`, body).catch(() => {});
}

function describe(content) {
  const { items } = at.state;
  $("position").textContent = `${roundName(at.state.round)} · ${say("case_of", {
    number: content.position, count: items.length })}`;
  $("done").max = items.length;
  $("done").value = items.filter((one) => one.done).length;
  $("clinical").hidden = !content.clinical.length;
  $("clinical").querySelector("dl").replaceChildren(
    ...content.clinical.flatMap(([name, cell]) => [
      element("dt", phrases[`clinical_${name}`] ?? name), element("dd", cell || "–")]),
  );
  describeModel(content.model);
  $("truth").hidden = !content.truth;
  if (content.truth) $("truth").querySelector("p").textContent = content.truth;
  const second = content.session === "aided" && content.sessions.length > 1;
  $("score-title").textContent = say(second ? "score_aided" : "score_title", {
    positive: at.state.positive });
  $("back").disabled = at.place === 0;
  mark();
}

function describeModel(model) {
  $("model").hidden = !model;
  if (!model) return;
  const percent = (share) => `${Math.round(share * 100)} %`;
  const { positive } = at.state;
  const lines = Object.keys(model.probabilities).length > 2
    ? Object.entries(model.probabilities).map(([name, share]) =>
      element("p", `${name}: ${percent(share)}`))
    : [element("p", percent(model.probabilities[positive]), "number"),
      element("p", say("model_of", { positive }))];
  const range = model.low === null
    ? say("model_one_fold")
    : say("model_folds", { low: percent(model.low), high: percent(model.high), folds: model.folds });
  $("model-text").replaceChildren(...lines, element("p", range));
}

/** Say in the buttons what is chosen. */
function mark() {
  for (const button of $("scale").children) {
    const checked = Number(button.textContent) === at.chosen;
    button.setAttribute("aria-checked", String(checked));
  }
  $("next").disabled = at.chosen === null || at.busy;
}

function choose(score) {
  if (!at.case || at.paused || at.busy || !at.state.scale.includes(score)) return;
  at.chosen = score;
  mark();
}

/** Store the score, then go on; the page does not move before the server has it on disk. */
async function confirm() {
  if (!at.case || at.chosen === null || at.paused || at.busy) return;
  const { item, session, scores } = at.case;
  const place = at.place;
  try {
    if (scores[session] !== at.chosen) {
      at.busy = true;
      mark();
      const score = { session, score: at.chosen, seconds: clock.seconds };
      await sendScore(item, score, trouble);
      at.state = await call("/api/state");
      at.case = null; // its time is stored with the score
      at.busy = false;
      const training = at.state.round === 0;
      if (training || !at.state.items[place].done) return await showCase(place);
      return await showNext();
    }
    const later = at.state.items[place + 1];
    return later && at.state.items[place].done ? await showCase(place + 1) : await showNext();
  } catch (error) {
    fail(error);
  } finally {
    at.busy = false;
    if (at.case) mark();
  }
}

function goBack() {
  if (at.case && at.place > 0 && !at.paused && !at.busy) showCase(at.place - 1, "back");
}

/** A pause hides the case and stops its clock. */
function pause() {
  if (!at.case || at.paused || at.busy) return;
  at.paused = true;
  clock.stop();
  keepTime();
  call("/api/log", { act: "pause", item: at.case.item }).catch(() => {});
  $("reading").hidden = true;
  $("message").hidden = false;
  $("message-title").textContent = say("paused");
  $("message-text").replaceChildren(element("p", say("paused_text")));
  $("message-second").hidden = true;
  $("message-action").hidden = false;
  [$("message-action").textContent, $("message-action").onclick] = [say("resume"), resume];
  $("message-action").focus();
}

function resume() {
  at.paused = false;
  call("/api/log", { act: "resume", item: at.case.item }).catch(() => {});
  $("message").hidden = true;
  $("reading").hidden = false;
  clock.resume();
  viewer.invalidate();
  viewer.views[0].canvas.focus();
}

/** What is wrong while a score waits; null when it is stored. */
function trouble(error) {
  $("alert").hidden = !error;
  if (error) $("alert").textContent = `${explain(error)} ${say("kept")}`;
}

function explain(error) {
  const details = { ...error.details };
  if (details.until) details.date = dateOf(details.until);
  return say(error.code ? `error_${error.code}` : "error_unexpected", details);
}

function fail(error) {
  if (!error.code) console.error(error);
  if (error.code === "logged_out" || error.code === "wrong_link") {
    $("logout").hidden = true;
    message({ title: say("login"), text: [explain(error), say("login_text")] });
    return;
  }
  $("alert").hidden = false;
  $("alert").textContent = explain(error);
}

/** Put a language's words on the page. */
async function speak(name) {
  phrases = await loadPhrases(name);
  document.documentElement.lang = name;
  for (const part of document.querySelectorAll("[data-phrase]")) {
    part.textContent = say(part.dataset.phrase);
  }
  $("language").replaceChildren(
    ...Object.entries(LANGUAGES).map(([code, words]) => new Option(words, code, false, code === name)),
  );
  $("key-list").replaceChildren(
    ...phrases.key_list.flatMap(([keys, words]) => [element("dt", keys), element("dd", words)]),
  );
  $("status").textContent = phrases.checked ? "" : phrases.unchecked ?? "";
}

function buildScale() {
  const { scale, positive } = at.state;
  $("low").textContent = say("scale_low", { positive });
  $("high").textContent = say("scale_high", { positive });
  if ($("scale").childElementCount === scale.length) return;
  $("scale").replaceChildren(
    ...scale.map((score) => {
      const button = element("button", String(score));
      button.type = "button";
      button.setAttribute("role", "radio");
      const digit = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].find((number) => scoreOf(number) === score);
      if (digit !== undefined) button.setAttribute("aria-keyshortcuts", String(digit));
      button.addEventListener("click", (event) => {
        choose(score);
        if (event.detail) button.blur();
      });
      return button;
    }),
  );
}

/** The score of a digit key: the digit, or its ten on a scale of percent. */
function scoreOf(digit) {
  const { scale } = at.state;
  return scale.includes(100) ? digit * 10 : digit;
}

function listen() {
  $("next").addEventListener("click", confirm);
  $("back").addEventListener("click", goBack);
  $("pause").addEventListener("click", pause);
  $("help").addEventListener("click", () => $("keys").showModal());
  $("logout").addEventListener("click", async () => {
    leaveCase();
    await call("/api/logout", {}).catch(() => {});
    location.reload();
  });
  $("language").addEventListener("change", async (event) => {
    chooseLanguage(event.target.value);
    location.reload();
  });
  document.addEventListener("keydown", onKey);
  document.addEventListener("visibilitychange", () => document.hidden && pause());
  addEventListener("pagehide", () => {
    if (!at.case) return;
    const body = JSON.stringify({ session: at.case.session, seconds: clock.seconds });
    const address = `/api/cases/${at.case.item}/time`;
    navigator.sendBeacon(address, new Blob([body], { type: "application/json" }));
  });
  setInterval(() => clock.running && keepTime(), KEEP_TIME);
}

function onKey(event) {
  if ($("keys").open || event.target.tagName === "SELECT") return;
  if (event.ctrlKey || event.metaKey || (event.altKey && !event.key.startsWith("Arrow"))) return;
  if (event.key === "?") return $("keys").showModal();
  if (!at.case) return;
  const key = event.key.toLowerCase();
  const onButton = event.target.tagName === "BUTTON" && ["enter", " "].includes(key);
  if (onButton) return;
  if (key === "p") at.paused ? resume() : pause();
  else if (at.paused) return;
  else if (/^[0-9]$/.test(key)) choose(scoreOf(Number(key)));
  else if (key === "enter") confirm();
  else if (key === "backspace") goBack();
  else if (!viewer.key(event)) return;
  event.preventDefault();
}

begin();
