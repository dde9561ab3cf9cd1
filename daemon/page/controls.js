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
  ["rollback", "Roll back", "The content of that version becomes a newer " +
    "one, which rankers serve at once. Nothing else is published until " +
    "Publish past the gate. Learning goes on.",
  { label: "Version to go back to", list: "known-versions",
    hint: "v<epoch>-<version>", body: (version) => ({ version }) }],
  ["forget", "Forget a user", "History, journal, checkpoints and the rows of " +
    "that user are removed, then older versions follow. There is no way back.",
  { label: "User, as the producers write it", hint: "user id",
    body: (user) => ({ users: [user] }) }],
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

async function act(path, title, text, field, value) {
  const whom = field ? ` ${value}` : "";
  if (!await confirmed(title + whom, text)) return;
  try {
    const answer = await fetch(`/control/${path}`, { method: "POST",
      headers: { Authorization: `Bearer ${$("token").value}` },
      body: field ? JSON.stringify(field.body(value)) : undefined });
    const said = await answer.json();
    $("answer").dataset.tone = answer.ok ? "good" : "bad";
    $("answer").textContent = `${title}: ${said.effect || said.error}.`;
  } catch {
    $("answer").dataset.tone = "bad";
    $("answer").textContent = `${title}: the daemon does not answer.`;
  }
}

function make(tag, attributes) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    element.setAttribute(name, value);
  return element;
}

function addAction([path, title, text, field]) {
  const id = `does-${path.replace(/\W/g, "-")}`;
  const row = make("p", {});
  const button = make("button", { type: "button", "aria-describedby": id });
  const words = make("span", { id });
  button.textContent = title;
  words.textContent = text;
  row.append(button, words);
  const input = field && make("input", { "aria-label": field.label,
    placeholder: field.hint, autocomplete: "off" });
  if (input) {
    if (field.list) input.setAttribute("list", field.list);
    row.append(input);
  }
  button.addEventListener("click", () => {
    const value = input ? input.value.trim() : "";
    if (input && !value) input.focus();
    else act(path, title, text, field, value);
  });
  $("actions").append(row);
}

// `versions`: names to offer where one is wanted.
export function openControls(versions) {
  if (!$("actions").childElementCount) ACTIONS.forEach(addAction);
  $("known-versions").replaceChildren(...versions.map((value) =>
    make("option", { value })));
  $("answer").textContent = "";
  $("controls").showModal();
}
