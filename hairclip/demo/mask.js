// The mask's canvas: the photo with its hair tinted, and a brush that adds hair or removes it.
// `props.value` is JSON. From the server: {photo, mask, version, words}, pictures as data URIs. To the server: {paint}.
const canvas = element.querySelector("canvas");
const size = element.querySelector(".mask-size");
const paint = document.createElement("canvas"); // green adds hair, red removes it
const tint = document.createElement("canvas");
let photo = null;
let strokes = [];
let stroke = null;

function load(address) {
  return new Promise((done) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => done(null);
    image.src = address;
  });
}

function draw() {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!photo) return;
  context.drawImage(photo, 0, 0);
  context.globalAlpha = 0.5;
  context.drawImage(tint, 0, 0);
  context.globalAlpha = 0.7;
  context.drawImage(paint, 0, 0);
  context.globalAlpha = 1;
}

function drawStrokes() {
  const context = paint.getContext("2d");
  context.clearRect(0, 0, paint.width, paint.height);
  context.lineCap = context.lineJoin = "round";
  for (const one of strokes) {
    context.strokeStyle = context.fillStyle = one.color;
    context.lineWidth = one.width;
    context.beginPath();
    context.arc(one.points[0][0], one.points[0][1], one.width / 2, 0, 7);
    context.fill();
    context.beginPath();
    for (const [x, y] of one.points) context.lineTo(x, y);
    context.stroke();
  }
  draw();
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [
    ((event.clientX - box.left) * canvas.width) / box.width,
    ((event.clientY - box.top) * canvas.height) / box.height,
  ];
}

function hand_over() {
  props.value = JSON.stringify({ paint: strokes.length ? paint.toDataURL("image/png") : "" });
}

async function show() {
  let told = {};
  try {
    told = JSON.parse(props.value || "{}");
  } catch {
    return;
  }
  if (told.words) {
    for (const label of element.querySelectorAll("[data-word]")) label.textContent = told.words[label.dataset.word];
    canvas.setAttribute("aria-label", told.words.mask_canvas);
    size.setAttribute("aria-label", told.words.mask_size);
  }
  if (!("photo" in told)) return;
  canvas.dataset.ready = "0";
  element.querySelector(".mask-tool").hidden = !told.photo;
  element.querySelector(".mask-empty").hidden = Boolean(told.photo);
  photo = told.photo ? await load(told.photo) : null;
  const mask = told.mask ? await load(told.mask) : null;
  strokes = [];
  if (photo && mask) {
    for (const one of [canvas, paint, tint]) {
      one.width = photo.naturalWidth;
      one.height = photo.naturalHeight;
    }
    const context = tint.getContext("2d", { willReadFrequently: true });
    context.drawImage(mask, 0, 0, tint.width, tint.height);
    const pixels = context.getImageData(0, 0, tint.width, tint.height);
    for (let i = 0; i < pixels.data.length; i += 4) {
      pixels.data[i + 3] = pixels.data[i];
      pixels.data[i] = 150;
      pixels.data[i + 1] = 60;
      pixels.data[i + 2] = 255;
    }
    context.putImageData(pixels, 0, 0);
  }
  drawStrokes();
  element.querySelector(".mask-tool").dataset.version = told.version;
  canvas.dataset.ready = photo ? "1" : "0";
}

canvas.addEventListener("pointerdown", (event) => {
  if (!photo || event.button) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  const adds = element.querySelector("input[name=mask-mode]:checked").value === "add";
  const width = (Number(size.value) / 100) * Math.min(canvas.width, canvas.height);
  stroke = { color: adds ? "rgb(0,170,0)" : "rgb(220,0,0)", width, points: [place(event)] };
  strokes.push(stroke);
  drawStrokes();
});
canvas.addEventListener("pointermove", (event) => {
  if (!stroke) return;
  stroke.points.push(place(event));
  drawStrokes();
});
for (const name of ["pointerup", "pointercancel"])
  canvas.addEventListener(name, () => {
    if (!stroke) return;
    stroke = null;
    hand_over();
  });
element.querySelector(".mask-undo").addEventListener("click", () => {
  strokes.pop();
  drawStrokes();
  hand_over();
});
watch("value", show);
show();
