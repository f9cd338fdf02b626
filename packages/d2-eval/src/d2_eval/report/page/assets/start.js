function startTheme() {
  const root = document.documentElement;
  const preferred = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  const apply = () => {
    root.dataset.theme = chosen ?? (preferred.matches ? "dark" : "light");
    redrawCharts();
  };
  preferred.addEventListener("change", apply);
  byId("theme").addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    apply();
  });
  window.addEventListener("beforeprint", () => {
    root.dataset.theme = "light";
    redrawCharts();
    loadPictures();
  });
  window.addEventListener("afterprint", apply);
  apply();
}

/** Loads the pictures of all cards there are, so that they can be printed. */
function loadPictures() {
  for (const image of document.querySelectorAll("img")) image.loading = "eager";
}

function startContents() {
  const links = [...document.querySelectorAll("main section")].filter((section) => section.id !== "changes" || data.other !== null).map((section) => make("a", { href: `#${section.id}` }, section.dataset.name));
  byId("contents").append(...links);
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links) link.toggleAttribute("aria-current", link.getAttribute("href") === `#${entry.target.id}`);
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  for (const section of document.querySelectorAll("main section")) seen.observe(section);
}

startTheme();
startContents();
describeRun();
describeErrors();
drawErrors();
drawCurves();
drawClasses();
drawParts("chart-sizes", data.sizes);
drawParts("chart-aspects", data.aspects);
drawParts("chart-counts", data.counts);
drawCalibration();
drawConfusions();
startGallery();
startChanges();
startLabels();
document.documentElement.dataset.ready = "";
window.addEventListener("load", () => setTimeout(loadPictures));
