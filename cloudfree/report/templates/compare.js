document.documentElement.classList.add("js");
for (const slider of document.querySelectorAll(".compare input")) {
  const show = () => {
    slider.parentElement.style.setProperty("--at", slider.value + "%");
    slider.setAttribute("aria-valuetext", Math.round(slider.value) + " % before");
  };
  slider.addEventListener("input", show);
  show();
}
