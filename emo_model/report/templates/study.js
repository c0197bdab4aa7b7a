"use strict";

const study = JSON.parse(document.getElementById("study").textContent);
const scales = Object.entries(study.scales);
const place = (id) => document.getElementById(id);
const now = () => new Date().toISOString();

// What was rated so far, kept in the browser where it allows that: a page that was closed goes on where it was.
const kept = `emo-study-${study.study}`;
let state = null;
try { state = JSON.parse(localStorage.getItem(kept)); } catch { /* kept in memory alone */ }
if (!state || state.study !== study.study) state = begun();
function begun() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  const rater = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return { study: study.study, rater, begun: now(), at: -1, scores: {}, order: drawn() };
}
function keep() {
  try { localStorage.setItem(kept, JSON.stringify(state)); } catch { /* kept in memory alone */ }
}

// Clips in an order of this rater's own, and in each the videos (Fisher and Yates).
function shuffled(list) {
  const found = [...list];
  for (let i = found.length - 1; i > 0; i--) {
    const j = crypto.getRandomValues(new Uint32Array(1))[0] % (i + 1);
    [found[i], found[j]] = [found[j], found[i]];
  }
  return found;
}
function drawn() {
  return shuffled(study.clips).map(({ clip, videos }) => ({ clip, videos: shuffled(videos) }));
}

function element(name, values = {}, ...children) {
  const made = Object.assign(document.createElement(name), values);
  made.append(...children);
  return made;
}

function card(video, number) {
  const title = `Video ${number + 1}`;
  const film = element("video", { controls: true, playsInline: true, preload: "metadata", src: `media/${video}.mp4` });
  film.setAttribute("aria-label", title);
  const made = element("div", { className: "card", id: `card-${video}` }, element("h2", { textContent: title }), film);
  for (const [scale, label] of scales) {
    const choices = element("div", { className: "scale" });
    for (let score = study.lowest; score <= study.highest; score++) {
      const input = element("input", { type: "radio", name: `${video}-${scale}`, value: score });
      input.checked = state.scores[video]?.[scale] === score;
      input.addEventListener("change", () => {
        state.scores[video] = { ...state.scores[video], [scale]: score };
        if (rated(video)) made.classList.remove("missing");
        keep();
      });
      choices.append(element("label", {}, input, String(score)));
    }
    const ends = element("div", { className: "ends" }, element("span", { textContent: "bad" }), element("span", { textContent: "good" }));
    made.append(element("fieldset", {}, element("legend", { textContent: label }), choices, ends));
  }
  return made;
}

const rated = (video) => scales.every(([scale]) => Number.isInteger(state.scores[video]?.[scale]));

function show() {
  const clip = state.order[state.at];
  place("start").hidden = state.at >= 0;
  place("rate").hidden = !clip;
  place("done").hidden = state.at < state.order.length;
  place("missing").textContent = "";
  place("videos").replaceChildren();
  if (clip) {
    place("progress").textContent = `${state.at + 1} of ${state.order.length}`;
    place("portrait").querySelector("img").src = `media/${clip.clip}.jpg`;
    place("videos").append(...clip.videos.map(card));
    place("back").hidden = state.at === 0;
  } else if (state.at >= 0) {
    state.finished ??= now();
    place("text").value = text();
  }
  keep();
  scrollTo(0, 0);
}

function text() {
  const ratings = state.order.flatMap(({ clip, videos }, page) =>
    videos.map((video, position) => ({ clip, video, page, position, ...state.scores[video] })));
  const { study: name, rater, begun, finished } = state;
  return JSON.stringify({ study: name, rater, begun, finished, ratings }, null, 1);
}

place("begin").addEventListener("click", () => { state.at = 0; show(); });
place("back").addEventListener("click", () => { state.at -= 1; show(); });
place("again").addEventListener("click", () => { state.at = 0; delete state.finished; show(); });
place("other").addEventListener("click", () => {
  if (!confirm("Is your file saved? The ratings on this page will be gone.")) return;
  state = begun();
  show();
});
place("videos").addEventListener("submit", (event) => event.preventDefault());
place("next").addEventListener("click", () => {
  const missing = state.order[state.at].videos.filter((video) => !rated(video));
  for (const video of missing) place(`card-${video}`).classList.add("missing");
  place("missing").textContent = missing.length ? `${missing.length} video${missing.length > 1 ? "s" : ""} not rated on both questions yet` : "";
  if (!missing.length) { state.at += 1; show(); }
});
// Only one video is heard at a time.
document.addEventListener("play", (event) => {
  for (const video of document.querySelectorAll("video")) if (video !== event.target) video.pause();
}, true);
place("save").addEventListener("click", () => {
  const href = URL.createObjectURL(new Blob([text()], { type: "application/json" }));
  element("a", { href, download: `ratings-${state.study.slice(0, 8)}-${state.rater}.json` }).click();
  URL.revokeObjectURL(href);
});
show();
