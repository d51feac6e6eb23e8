// Sends a picture and shows what comes back. Without this script, the form shows it on a page of its own.
const form = document.querySelector("form");
const image = document.querySelector("img");
const caption = document.querySelector("figcaption");

async function draw(file) {
  const upload = new FormData();
  upload.append("picture", file);
  const begun = performance.now();
  caption.textContent = "…";
  const response = await fetch("/render", { method: "POST", body: upload }).catch(() => null);
  const took = Math.round(performance.now() - begun);
  URL.revokeObjectURL(image.src);
  image.removeAttribute("src");
  if (!response?.ok) {
    caption.textContent = response ? await response.text() : "The service cannot be reached.";
    return;
  }
  image.src = URL.createObjectURL(await response.blob());
  image.alt = `${file.name}, drawn`;
  await image.decode().catch(() => {});
  caption.textContent = `${file.name}: ${image.naturalWidth} × ${image.naturalHeight} pixels in ${took} ms`;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  draw(form.picture.files[0]);
});
form.addEventListener("dragover", (event) => {
  event.preventDefault();
  form.classList.add("over");
});
form.addEventListener("dragleave", () => form.classList.remove("over"));
form.addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("over");
  if (event.dataTransfer.files.length) draw(event.dataTransfer.files[0]);
});

// Something to look at.
fetch("/sample.svg")
  .then((response) => response.blob())
  .then((sample) => draw(new File([sample], "hills.svg")));
