// Remembers "Show code" between pages. CSS alone does the hiding, so it works without this script, too.
(function () {
  var box = document.getElementById("show-code");
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
