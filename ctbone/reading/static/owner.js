// The owner's page: how far each reader is; the scores of finished sessions.

import { fill, language, loadPhrases } from "./phrases.js";

const REFRESH = 5000; // ms
const TOKEN = "ctbone-owner";
const $ = (id) => document.getElementById(id);
const phrases = await loadPhrases(language());
const say = (name, values = {}) => fill(phrases[name] ?? name, values);

if (location.hash.length > 1) {
  sessionStorage.setItem(TOKEN, location.hash.slice(1));
  history.replaceState(null, "", "/owner");
}
document.documentElement.lang = language();
for (const part of document.querySelectorAll("[data-phrase]")) {
  part.textContent = say(part.dataset.phrase);
}

const ask = (address) =>
  fetch(address, { headers: { Authorization: `Bearer ${sessionStorage.getItem(TOKEN) ?? ""}` } });

function warn(words) {
  $("alert").hidden = !words;
  $("alert").textContent = words;
}

async function refresh() {
  const response = await ask("/api/owner/progress").catch(() => null);
  if (!response?.ok) return warn(say(response ? "owner_link" : "error_offline"));
  warn("");
  const rows = await response.json();
  $("scores").disabled = !rows.some((row) => row.round > 0 && row.state === "finished");
  $("rows").replaceChildren(...rows.map(rowOf));
}

function rowOf(row) {
  const round = row.round === null ? "" : row.round === 0
    ? say("training") : say("session", { number: row.round });
  const known = ["junior", "mid", "senior"].includes(row.level);
  const cells = [row.reader_id, known ? say(`level_${row.level}`) : row.level, round,
    row.cases ? `${row.read} / ${row.cases}` : "", say(`state_${row.state.replace(" ", "_")}`)];
  const made = document.createElement("tr");
  made.append(...cells.map((words) => {
    const cell = document.createElement("td");
    cell.textContent = words;
    return cell;
  }));
  return made;
}

$("scores").addEventListener("click", async () => {
  const response = await ask("/api/owner/scores");
  if (!response.ok) return warn(say("owner_link"));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = "scores.csv";
  link.click();
  URL.revokeObjectURL(link.href);
});

await refresh();
setInterval(refresh, REFRESH);
