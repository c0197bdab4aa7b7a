"use strict";

// Sort a table of class "sortable" by the column whose head is pressed; what has no number stays at the end.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.ariaSort === "ascending";
      const key = (row) => row.cells[column].dataset.sort ?? (column ? "" : row.cells[0].textContent);
      const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
      rows.sort(([a], [b]) => {
        if (a === "" || b === "") return (a === "") - (b === "");
        const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
        return down ? -order : order;
      });
      for (const other of heads) other.removeAttribute("aria-sort");
      head.ariaSort = down ? "descending" : "ascending";
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}

// One button plays the videos of a figure together; the ground truth keeps its sound, the others are silent then.
for (const panes of document.querySelectorAll(".panes")) {
  const videos = [...panes.querySelectorAll("video")];
  if (videos.length < 2) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "both";
  button.textContent = "Play together";
  button.addEventListener("click", () => {
    const playing = videos.some((video) => !video.paused);
    for (const video of videos) {
      video.muted = video !== videos[0];
      if (playing) video.pause();
      else { video.currentTime = 0; video.play(); }
    }
  });
  const say = () => {
    const playing = videos.some((video) => !video.paused && !video.ended);
    button.textContent = playing ? "Stop" : "Play together";
    if (!playing) for (const video of videos) video.muted = false;
  };
  for (const video of videos) for (const event of ["play", "pause", "ended"]) video.addEventListener(event, say);
  panes.after(button);
}
