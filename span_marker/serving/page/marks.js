// How a text with entities is drawn: pure functions. The same rules as in span_marker/data/html.py.
// Places count UTF-16 units, as JavaScript does.

/** Give each mark the lowest free level, shorter ones first, so that a nested mark is nearer to the text. */
export function stack(marks) {
  const levels = [];
  return [...marks]
    .sort((a, b) => a.end - a.start - (b.end - b.start) || a.start - b.start)
    .map((mark) => {
      const isFree = (level) => level.every((other) => other.end <= mark.start || mark.end <= other.start);
      let level = levels.findIndex(isFree);
      if (level < 0) level = levels.push([]) - 1;
      levels[level].push(mark);
      return { ...mark, level };
    });
}

/** Steps that draw the text from start to end: ["open" | "label" | "close", mark] or ["text", string]. */
export function draw(text, start, end, marks) {
  const stacked = stack(marks);
  const openings = Map.groupBy([...stacked].sort((a, b) => b.level - a.level), (mark) => mark.start);
  const cuts = [...new Set([start, end, ...marks.flatMap((mark) => [mark.start, mark.end])])].sort((a, b) => a - b);
  const steps = [];
  let open = [];
  const close = (place) => {
    for (const mark of open.filter((mark) => mark.end <= place).reverse()) {
      const index = open.indexOf(mark);
      steps.push(["label", mark]);
      for (const other of open.slice(index).reverse()) steps.push(["close", other]);
      open.splice(index, 1);
      for (const other of open.slice(index)) steps.push(["open", other]);
    }
  };
  cuts.forEach((cut, index) => {
    close(cut);
    for (const mark of openings.get(cut) ?? []) {
      steps.push(["open", mark]);
      open.push(mark);
    }
    const next = cuts[index + 1];
    if (next !== undefined) steps.push(["text", text.slice(cut, next)]);
  });
  return { depth: Math.max(0, ...stacked.map((mark) => mark.level + 1)), steps };
}

/** Cut a text with sorted marks into pieces of about a size: at line ends if there are any, and never inside a mark. */
export function pieces(text, marks, size = 2000) {
  const covered = [];
  for (const { start, end } of marks) {
    const last = covered.at(-1);
    if (last && start < last[1]) last[1] = Math.max(last[1], end);
    else covered.push([start, end]);
  }
  const found = [];
  let start = 0;
  let nextMark = 0;
  let nextCover = 0;
  while (start < text.length) {
    let end = text.length;
    if (text.length - start > 2 * size) {
      const lineEnd = text.indexOf("\n", start + size) + 1;
      const space = text.slice(start + size, start + 2 * size).search(/\s/u);
      if (lineEnd && lineEnd < start + 4 * size) end = lineEnd;
      else end = start + size + (space < 0 ? 0 : space + 1);
      if (/[\udc00-\udfff]/.test(text[end])) end++;
      while (nextCover < covered.length && covered[nextCover][1] <= end) nextCover++;
      if (nextCover < covered.length && covered[nextCover][0] < end) end = covered[nextCover][1];
    }
    const own = [];
    while (nextMark < marks.length && marks[nextMark].start < end) own.push(marks[nextMark++]);
    found.push({ start, end, marks: own });
    start = end;
  }
  return found;
}

/** Turn places that count UTF-16 units into places that count code points, as Python does. */
export function toCodePoints(text, places) {
  const wanted = [...new Set(places)].sort((a, b) => a - b);
  const counted = new Map();
  let units = 0;
  let points = 0;
  for (const place of wanted) {
    for (; units < place; points++) units += text.codePointAt(units) > 0xffff ? 2 : 1;
    counted.set(place, points);
  }
  return places.map((place) => counted.get(place));
}
