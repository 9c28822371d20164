// The gallery: which kinds of images are shown, and one image at full size with its neighbours by the arrow keys.
//
// The window is a <dialog>, so that the browser itself keeps the focus inside, closes it with Escape, and gives the
// focus back. Pictures are cloned from the page; outlines refer to the image in the page by its name.
(() => {
  for (const gallery of document.querySelectorAll("[data-gallery]")) {
    const buttons = [...gallery.querySelectorAll("[data-kind]")];
    const choose = (chosen) => {
      for (const button of buttons) button.setAttribute("aria-pressed", String(button === chosen));
      for (const card of gallery.querySelectorAll("[data-card]")) {
        card.hidden = chosen.dataset.kind !== "" && card.dataset.card !== chosen.dataset.kind;
      }
      for (const group of gallery.querySelectorAll(".group")) {
        group.hidden = !group.querySelector("[data-card]:not([hidden])");
      }
    };
    for (const button of buttons) button.addEventListener("click", () => choose(button));
  }

  const viewer = document.getElementById("viewer");
  const panels = document.getElementById("viewer-panels");
  let cards = []; // those of the gallery that was opened, in its order, without hidden ones
  let at = 0;

  function show(index) {
    at = (index + cards.length) % cards.length;
    const card = cards[at];
    const copies = [...card.querySelectorAll(".panel")].map((panel) => panel.cloneNode(true));
    for (const copy of copies) for (const named of copy.querySelectorAll("[id]")) named.removeAttribute("id");
    panels.replaceChildren(...copies);
    const heading = card.querySelector(".heading").cloneNode(true);
    document.getElementById("viewer-heading").replaceChildren(...heading.childNodes);
    document.getElementById("viewer-words").textContent = [...card.querySelectorAll(".what p:not(.heading)")]
      .map((line) => line.textContent)
      .join(" · ");
    document.getElementById("viewer-place").textContent = `${at + 1} of ${cards.length}`;
  }

  for (const opener of document.querySelectorAll("[data-open]")) {
    opener.addEventListener("click", () => {
      const card = opener.closest("[data-card]");
      cards = [...card.closest("[data-gallery]").querySelectorAll("[data-card]:not([hidden])")];
      show(cards.indexOf(card));
      viewer.showModal();
    });
  }
  for (const button of viewer.querySelectorAll("[data-go]")) {
    button.addEventListener("click", () => show(at + Number(button.dataset.go)));
  }
  viewer.querySelector("[data-close]").addEventListener("click", () => viewer.close());
  viewer.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    show(at + step);
  });
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer) viewer.close(); // beside the window
  });
  viewer.addEventListener("close", () => {
    // Whoever went on by the arrows comes back to the image that was last looked at.
    const opener = cards[at] && cards[at].querySelector("[data-open]");
    if (opener) opener.focus();
  });
})();
