// Masks on the film's own pixels: run lengths, patches, contours and filled polygons. Nothing here knows the page. Points
// are [x, y] on the film; the centre of a pixel lies at half numbers, so contours follow the edges of pixels.
const ROUNDED = 0.08; // share of a side at either end that belongs to a rounded corner
const SAG = 0.03; // usual depth of a hollow side, over its length
const GRABBED = 0.09; // half of the stretch that follows a point of the contour, over its whole length

const union = (a, b) => (a && b
  ? { left: Math.min(a.left, b.left), top: Math.min(a.top, b.top), right: Math.max(a.right, b.right), bottom: Math.max(a.bottom, b.bottom) }
  : a ?? b);
// The pixels that hold these points, and a margin around them, within the film.
const boxAround = (points, film, margin = 1) => {
  const x = points.map((point) => point[0]), y = points.map((point) => point[1]);
  return {
    left: Math.max(0, Math.floor(Math.min(...x)) - margin), top: Math.max(0, Math.floor(Math.min(...y)) - margin),
    right: Math.min(film.columns - 1, Math.ceil(Math.max(...x)) + margin), bottom: Math.min(film.rows - 1, Math.ceil(Math.max(...y)) + margin),
  };
};

// ---- run lengths and patches ----

// Lengths of the stretches outside, inside, outside ... vertebra k in reading order, over the whole film. box: holds it.
function runsOf(bits, k, film, box) {
  const runs = [];
  let end = 0;
  if (box)
    for (let y = box.top; y <= box.bottom; y++) {
      const last = y * film.columns + box.right + 1;
      for (let i = y * film.columns + box.left; i < last; i++) {
        if (!((bits[i] >> k) & 1)) continue;
        const start = i;
        while (i < last && (bits[i] >> k) & 1) i++;
        runs.push(start - end, i - start);
        end = i;
      }
    }
  runs.push(film.rows * film.columns - end);
  return runs;
}

function bitsOf(runs, size) {
  const bits = new Uint8Array(size);
  runs.forEach((lengths, k) => {
    let at = 0;
    lengths.forEach((length, n) => {
      if (n % 2) for (let i = at; i < at + length; i++) bits[i] |= 1 << k;
      at += length;
    });
  });
  return bits;
}

// What turns `before` into `after` and back: their exclusive or within the box, as lengths and values.
function patchBetween(before, after, film, box) {
  const values = [], lengths = [];
  for (let y = box.top; y <= box.bottom; y++)
    for (let x = box.left; x <= box.right; x++) {
      const value = before[y * film.columns + x] ^ after[y * film.columns + x];
      if (value === values.at(-1)) lengths[lengths.length - 1]++;
      else { values.push(value); lengths.push(1); }
    }
  return values.some(Boolean) ? { box, values, lengths } : null;
}

function applyPatch(bits, film, { box, values, lengths }) {
  const width = box.right - box.left + 1;
  let at = 0;
  lengths.forEach((length, n) => {
    if (values[n]) for (let i = at; i < at + length; i++) bits[(box.top + Math.floor(i / width)) * film.columns + box.left + (i % width)] ^= values[n];
    at += length;
  });
}

function copyBox(from, to, film, box) {
  for (let y = box.top; y <= box.bottom; y++) {
    const start = y * film.columns;
    to.set(from.subarray(start + box.left, start + box.right + 1), start + box.left);
  }
}

// Box and centre of vertebra k within a part of the film, as `drawVertebra` takes them; null where it has no pixel.
function boxWithin(bits, k, film, part) {
  const box = { left: 1e9, right: -1, top: 1e9, bottom: -1, x: 0, y: 0, count: 0 };
  for (let y = part.top; y <= part.bottom; y++)
    for (let x = part.left; x <= part.right; x++) {
      if (!((bits[y * film.columns + x] >> k) & 1)) continue;
      if (x < box.left) box.left = x;
      if (x > box.right) box.right = x;
      if (y < box.top) box.top = y;
      box.bottom = y;
      box.x += x; box.y += y; box.count++;
    }
  return box.count ? box : null;
}

// ---- contours ----

// The outer border of the largest piece of vertebra k.
const contourOf = (bits, k, film, box) => contoursOf(bits, k, film, box).reduce((largest, points) => (areaOf(points) > areaOf(largest) ? points : largest), []);

// The borders of vertebra k along the edges of its pixels, one point a pixel: clockwise around pieces, else around holes.
function contoursOf(bits, k, film, box) {
  const inside = (x, y) => x >= box.left && y >= box.top && x <= box.right && y <= box.bottom && ((bits[y * film.columns + x] >> k) & 1) === 1;
  const width = box.right - box.left + 1, seen = new Uint8Array(width * (box.bottom - box.top + 1));
  const found = [];
  for (let y = box.top; y <= box.bottom; y++)
    for (let x = box.left; x <= box.right; x++) {
      if (!inside(x, y) || inside(x, y - 1) || seen[(y - box.top) * width + x - box.left]) continue;
      found.push(trace(inside, x, y, (px, py) => { seen[(py - box.top) * width + px - box.left] = 1; }));
    }
  return found;
}

const STEPS = [[1, 0], [0, 1], [-1, 0], [0, -1]]; // right, down, left, up: the body lies on the right hand
const AHEAD = [[0, 0], [-1, 0], [-1, -1], [0, -1]]; // from a vertex the pixel ahead on the right hand, for each way
function trace(inside, startX, startY, markTop) {
  const points = [];
  let x = startX, y = startY, way = 0;
  do {
    points.push([x, y]);
    if (way === 0) markTop(x, y);
    x += STEPS[way][0]; y += STEPS[way][1];
    const [dx, dy] = AHEAD[way], [leftX, leftY] = AHEAD[(way + 3) % 4];
    if (!inside(x + dx, y + dy)) way = (way + 1) % 4;
    else if (inside(x + leftX, y + leftY)) way = (way + 3) % 4;
  } while (x !== startX || y !== startY || way !== 0);
  return points;
}

const areaOf = (points) => points.reduce((sum, [x, y], n) => { const [nx, ny] = points[(n + 1) % points.length]; return sum + x * ny - nx * y; }, 0) / 2;
const nearestIndex = (points, [x, y]) => {
  let best = 0, least = Infinity;
  points.forEach(([px, py], n) => { const far = (px - x) ** 2 + (py - y) ** 2; if (far < least) { least = far; best = n; } });
  return best;
};

// Where the body's corners are on its contour, clockwise. corners: as measured, in any order around the body; without
// them the points that lie farthest along the spine and across it. along: the spine's direction.
function cornersOn(contour, corners, along) {
  const [ax, ay] = along, ways = [[-1, -1], [-1, 1], [1, 1], [1, -1]];
  const far = ([u, v]) => contour.reduce((best, [x, y], n) => { const value = u * (x * ax + y * ay) + v * (-x * ay + y * ax); return value > best.value ? { value, n } : best; }, { value: -Infinity, n: 0 }).n;
  const found = corners ? corners.map((corner) => nearestIndex(contour, corner)) : ways.map(far);
  return [...new Set(found)].toSorted((a, b) => a - b);
}

// How much each point of the contour follows the corner n: fully there, not at all at the two neighbouring corners.
function cornerWeights(length, corners, n) {
  const weights = new Float32Array(length), count = corners.length;
  for (const step of [1, count - 1]) {
    const from = corners[n], to = corners[(n + step) % count], way = step === 1 ? 1 : -1;
    const size = (((to - from) * way) % length + length) % length || length;
    for (let i = 0; i < size; i++) weights[(((from + way * i) % length) + length) % length] = 1 - i / size;
  }
  return weights;
}

// How much each point follows the middle of the side from corner n to the next: a parabola, 0 at both corners.
function sideWeights(length, corners, n) {
  const weights = new Float32Array(length), from = corners[n], to = corners[(n + 1) % corners.length];
  const size = ((to - from) % length + length) % length || length;
  for (let i = 0; i <= size; i++) { const place = i / size; weights[(from + i) % length] = 4 * place * (1 - place); }
  return weights;
}

// How much each point follows a point of the contour: a raised cosine.
function pointWeights(length, at) {
  const weights = new Float32Array(length), half = Math.max(2, Math.round(length * GRABBED));
  for (let i = -half; i <= half; i++) weights[(((at + i) % length) + length) % length] = 0.5 + 0.5 * Math.cos((Math.PI * i) / half);
  return weights;
}

const middleOfSide = (contour, corners, n) => {
  const from = corners[n], size = ((corners[(n + 1) % corners.length] - from) % contour.length + contour.length) % contour.length;
  return contour[(from + (size >> 1)) % contour.length];
};

// The outline of a body through four corners in any order: hollow sides, rounded corners.
function bodyOutline(corners) {
  const x = corners.reduce((sum, point) => sum + point[0], 0) / 4, y = corners.reduce((sum, point) => sum + point[1], 0) / 4;
  const around = [...corners].toSorted((a, b) => Math.atan2(a[1] - y, a[0] - x) - Math.atan2(b[1] - y, b[0] - x));
  const onSide = (n, place) => {
    const [ax, ay] = around[n % 4], [bx, by] = around[(n + 1) % 4], deep = SAG * 4 * place * (1 - place);
    return [ax + (bx - ax) * place - (by - ay) * deep, ay + (by - ay) * place + (bx - ax) * deep];
  };
  const points = [];
  for (let n = 0; n < 4; n++) {
    for (let step = 0; step <= 24; step++) points.push(onSide(n, ROUNDED + ((1 - 2 * ROUNDED) * step) / 24));
    const [start, [cx, cy], end] = [onSide(n, 1 - ROUNDED), around[(n + 1) % 4], onSide(n + 1, ROUNDED)];
    for (let step = 1; step < 8; step++) {
      const t = step / 8, weights = [(1 - t) ** 2, 2 * t * (1 - t), t ** 2];
      points.push([0, 1].map((axis) => weights[0] * start[axis] + weights[1] * [cx, cy][axis] + weights[2] * end[axis]));
    }
  }
  return points;
}

// ---- filled shapes: each calls `paint(index)` for the pixels whose centre lies inside ----

// A closed polygon by its winding number.
function fillPolygon(points, film, paint) {
  const box = boxAround(points, film), rows = Array.from({ length: Math.max(0, box.bottom - box.top + 1) }, () => []);
  points.forEach(([ax, ay], n) => {
    const [bx, by] = points[(n + 1) % points.length];
    if (ay === by) return;
    const first = Math.max(box.top, Math.ceil(Math.min(ay, by) - 0.5)), last = Math.min(box.bottom, Math.ceil(Math.max(ay, by) - 0.5) - 1);
    for (let y = first; y <= last; y++) rows[y - box.top].push([ax + ((y + 0.5 - ay) * (bx - ax)) / (by - ay), by > ay ? 1 : -1]);
  });
  rows.forEach((crossings, n) => {
    crossings.sort((a, b) => a[0] - b[0]);
    let winding = 0;
    for (let i = 0; i + 1 < crossings.length; i++) {
      winding += crossings[i][1];
      if (!winding) continue;
      const start = (box.top + n) * film.columns, end = Math.min(film.columns, Math.ceil(crossings[i + 1][0] - 0.5));
      for (let x = Math.max(0, Math.ceil(crossings[i][0] - 0.5)); x < end; x++) paint(start + x);
    }
  });
}

// All within `radius` of the line from a to b.
function fillStroke([ax, ay], [bx, by], radius, film, paint) {
  const box = boxAround([[ax, ay], [bx, by]], film, Math.ceil(radius)), squared = (bx - ax) ** 2 + (by - ay) ** 2 || 1;
  for (let y = box.top; y <= box.bottom; y++)
    for (let x = box.left; x <= box.right; x++) {
      const px = x + 0.5 - ax, py = y + 0.5 - ay, along = Math.min(1, Math.max(0, (px * (bx - ax) + py * (by - ay)) / squared));
      if ((px - along * (bx - ax)) ** 2 + (py - along * (by - ay)) ** 2 <= radius ** 2) paint(y * film.columns + x);
    }
  return box;
}
