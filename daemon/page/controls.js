// SPDX-License-Identifier: Apache-2.0
// The controls: what each will do is said beside it and again before it is
// done. The token stays in its field and goes nowhere but to this daemon.

const ACTIONS = [
  ["pause", "Pause", "Nothing is applied or trained until resume. Kafka " +
    "keeps what comes; what is published stays."],
  ["resume", "Resume", "Applying and training go on where they stopped."],
  ["checkpoint", "Checkpoint", "Each model writes a checkpoint at its next " +
    "batch end. A restart goes on from there."],
  ["publish", "Publish", "What was trained since the newest version becomes " +
    "a version now, if the gate lets it pass."],
  ["publish?force=1", "Publish past the gate", "The same, whatever the gate " +
    "says, once. Weights that are not finite are still refused. Rankers will " +
    "serve it."],
];

const $ = (id) => document.getElementById(id);

function confirmed(title, text) {
  $("confirm-title").textContent = `${title}?`;
  $("confirm-text").textContent = text;
  $("confirm-yes").textContent = title;
  $("confirm").returnValue = "no";
  $("confirm").showModal();
  return new Promise((resolve) => $("confirm").addEventListener("close",
    () => resolve($("confirm").returnValue === "yes"), { once: true }));
}

async function act(path, title, text) {
  if (!await confirmed(title, text)) return;
  try {
    const answer = await fetch(`/control/${path}`, { method: "POST",
      headers: { Authorization: `Bearer ${$("token").value}` } });
    const said = await answer.json();
    $("answer").dataset.tone = answer.ok ? "good" : "bad";
    $("answer").textContent = `${title}: ${said.effect || said.error}.`;
  } catch {
    $("answer").dataset.tone = "bad";
    $("answer").textContent = `${title}: the daemon does not answer.`;
  }
}

export function openControls() {
  if (!$("actions").childElementCount)
    for (const [path, title, text] of ACTIONS) {
      const row = document.createElement("p");
      const button = document.createElement("button");
      const words = document.createElement("span");
      button.type = "button";
      button.textContent = title;
      words.id = `does-${title.replace(/ /g, "-")}`;
      words.textContent = text;
      button.setAttribute("aria-describedby", words.id);
      button.addEventListener("click", () => act(path, title, text));
      row.append(button, words);
      $("actions").append(row);
    }
  $("answer").textContent = "";
  $("controls").showModal();
}
