// Remembers "Show code" between pages, and closes the contents list where it would push the text away. CSS alone does the
// hiding and the list is open without this script, so everything works without it, too.
(function () {
  var contents = document.querySelector("details.contents");
  if (contents && window.matchMedia("(max-width: 70rem)").matches) contents.open = false;
  var box = document.getElementById("show-code");
  if (!box) return;
  try {
    box.checked = localStorage.getItem("tsembed-show-code") === "1";
  } catch (error) {
    box.checked = false;
  }
  box.addEventListener("change", function () {
    try {
      localStorage.setItem("tsembed-show-code", box.checked ? "1" : "0");
    } catch (error) {
      return;
    }
  });
})();
