"use strict";
// Names the point of a figure that is nearest to the pointer; the page is complete without it.
const label = document.createElement("div");
label.className = "point-label";
label.hidden = true;
document.body.append(label);
for (const card of document.querySelectorAll("[data-points]")) {
  const image = card.querySelector("img");
  const points = JSON.parse(card.dataset.points);
  const show = (event) => {
    const box = image.getBoundingClientRect();
    let nearest = null, reach = 12; // CSS pixels
    for (const [x, y, text] of points) {
      const away = Math.hypot(box.left + x * box.width - event.clientX,
                              box.top + y * box.height - event.clientY);
      if (away < reach) { nearest = [x, y, text]; reach = away; }
    }
    label.hidden = nearest === null;
    if (label.hidden) return;
    label.textContent = nearest[2];
    const left = box.left + nearest[0] * box.width + 10;
    const top = box.top + nearest[1] * box.height + 10;
    label.style.left = Math.max(4, Math.min(left, innerWidth - label.offsetWidth - 4)) + "px";
    label.style.top = Math.max(4, Math.min(top, innerHeight - label.offsetHeight - 4)) + "px";
  };
  image.addEventListener("pointermove", show);
  image.addEventListener("pointerdown", show);
  image.addEventListener("pointerleave", () => { label.hidden = true; });
}
addEventListener("scroll", () => { label.hidden = true; }, { passive: true });
