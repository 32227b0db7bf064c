'use strict';
/* A score against what it costs, with the models that nothing cheaper beats. */

const COSTS = [
  ['parameters', 'Parameters', 'model with fewer parameters', -1, true],
  ['dimensions', 'Dimension of vectors', 'model with smaller vectors', -1, true],
  ['speed', 'Texts per second, as measured', 'faster model', 1, true],
];

const scatterSection = byId('scatter');

function showScatter() {
  const shown = board();
  const costs = COSTS.filter(([key]) => shown.has(key) && shown.rows[key].filter((value) => value > 0).length > 1);
  scatterSection.hidden = !costs.length;
  if (!costs.length) return;
  const cost = costs.find(([key]) => key === state.cost) ?? costs[0];
  const scoresOf = [['mean', 'Mean over tasks', shown.mean], ['byType', 'Mean over types', shown.byType], ...shown.types.map((type) => [`type:${type.name}`, type.name, type])];
  const by = scoresOf.find(([key]) => key === state.by) ?? scoresOf.find(([, , column]) => column.s.some((score, row) => score !== null && shown.of(cost[0], row) > 0)) ?? scoresOf[0];
  const isAsked = rowFilter(shown);
  const dots = [];
  for (let row = 0; row < shown.size; row += 1) {
    const x = shown.of(cost[0], row);
    if (isAsked(row) && x > 0 && by[2].s[row] !== null) dots.push({ row, x, y: by[2].s[row] });
  }
  keepChoices(scatterSection, () => [
    chooser('Score', scoresOf.map(([key, text]) => [key, text]), by[0], (value) => choose({ by: value })),
    chooser('against', costs.map(([key, text]) => [key, text]), cost[0], (value) => choose({ cost: value })),
  ]);
  const front = frontOf(dots, cost[3]);
  const chart = scatterSection.querySelector('.chart');
  chart.replaceChildren(dots.length ? scatterChart(shown, dots, front, cost, by) : make('p', { class: 'nobody' }, 'No model has both.'));
  const left = shown.size - dots.length;
  scatterSection.querySelector('.under').textContent = `Filled dots joined by a line: no ${cost[2]} scores higher.${hasBoth(shown) ? ' Orange rings: own runs.' : ''}${left ? ` ${plural(left, 'model')} of ${shown.size} not shown: filtered out, or a value is unknown.` : ''} Arrow keys go from dot to dot.`;
}

/** Choices above a chart, made anew without losing the focus. */
function keepChoices(section, made) {
  const place = section.querySelector('.choices');
  const focused = [...place.querySelectorAll('select')].indexOf(document.activeElement);
  place.replaceChildren(...made());
  if (focused >= 0) place.querySelectorAll('select')[focused].focus();
}

/** Dots that no other beats in score at no higher cost; `sign` is 1 where more is better. */
function frontOf(dots, sign) {
  const sorted = [...dots].sort((one, other) => sign * (other.x - one.x) || other.y - one.y);
  let best = { x: 0, y: -Infinity };
  // equal ones are on it together
  const front = sorted.filter((dot) => {
    const isFirst = dot.y > best.y || (dot.y === best.y && dot.x === best.x);
    if (isFirst) best = dot;
    return isFirst;
  });
  return new Set(front);
}

function axis(values, from, to, isLog) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (isLog) [low, high] = [low / 1.25, high * 1.25];
  else [low, high] = [low - (high - low || 100) * 0.08, high + (high - low || 100) * 0.08];
  const map = isLog ? Math.log : (value) => value;
  return { low, high, at: (value) => from + (to - from) * (map(value) - map(low)) / (map(high) - map(low)) };
}

function logTicks({ low, high }) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const digit of [1, 2, 5]) found.push(digit * 10 ** power);
  }
  const inside = found.filter((value) => value >= low && value <= high);
  return inside.length > 7 ? inside.filter((value) => /^1/.test(value.toExponential())) : inside;
}

function evenTicks({ low, high }, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((one) => one >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) found.push(value);
  return found;
}

function scatterChart(shown, dots, front, cost, by) {
  const width = Math.max(320, Math.round(scatterSection.clientWidth) || 900);
  const height = width < 600 ? 340 : 440;
  const edge = { left: 56, right: 24, top: 20, bottom: 48 };
  const x = axis(dots.map((dot) => dot.x), edge.left, width - edge.right, cost[4]);
  const spans = dots.map((dot) => spanOf(by[2], dot.row));
  const y = axis([...dots.map((dot) => dot.y), ...spans.filter(Boolean).flatMap((span) => [span.low, span.high])], height - edge.bottom, edge.top, false);
  const chart = draw('svg', { viewBox: `0 0 ${width} ${height}`, role: 'group', 'aria-label': `${by[1]} against ${cost[1].toLowerCase()}, ${plural(dots.length, 'model')}` });
  for (const value of evenTicks(y, 6)) {
    chart.append(draw('line', { class: 'grid', x1: edge.left, x2: width - edge.right, y1: y.at(value), y2: y.at(value) }), draw('text', { x: edge.left - 10, y: y.at(value) + 4, 'text-anchor': 'end' }, String(Number((value / 1000).toFixed(2)))));
  }
  for (const value of logTicks(x)) {
    chart.append(draw('line', { class: 'grid', x1: x.at(value), x2: x.at(value), y1: edge.top, y2: height - edge.bottom }), draw('text', { x: x.at(value), y: height - edge.bottom + 18, 'text-anchor': 'middle' }, short(value)));
  }
  chart.append(draw('text', { x: (edge.left + width - edge.right) / 2, y: height - 8, 'text-anchor': 'middle' }, cost[1]));
  dots.sort((one, other) => one.x - other.x || one.y - other.y).forEach((dot) => Object.assign(dot, { left: x.at(dot.x), top: y.at(dot.y) }));
  chart.append(draw('path', { class: 'edge', d: steps(dots.filter((dot) => front.has(dot)), cost[3]) }));
  if (state.bars && dots.length <= 40) {
    for (const dot of dots) {
      const span = spanOf(by[2], dot.row);
      if (span) chart.append(draw('line', { class: 'span', x1: dot.left, x2: dot.left, y1: y.at(span.low), y2: y.at(span.high) }));
    }
  }
  chart.append(...dotMarks(shown, dots, front, cost, by), ...dotNames(shown, dots, front, { left: edge.left, right: width - 6, top: edge.top, bottom: height - edge.bottom }));
  return chart;
}

/** The line of a front: what can be had at each cost, in steps. */
function steps(dots, sign) {
  const [first, ...others] = dots;
  const moves = others.map(({ left, top }) => (sign < 0 ? `H${left.toFixed(1)}V${top.toFixed(1)}` : `V${top.toFixed(1)}H${left.toFixed(1)}`));
  return first ? `M${first.left.toFixed(1)} ${first.top.toFixed(1)}${moves.join('')}` : '';
}

function dotMarks(shown, dots, front, cost, by) {
  const marks = dots.map((dot) => {
    const text = `${labelOf(shown, dot.row)}: ${by[1]} ${points(dot.y)}, ${cost[1].toLowerCase()} ${short(dot.x)}${front.has(dot) ? ', on the front' : ''}`;
    const isOwn = shown.has('published') && !shown.of('published', dot.row);
    return draw('g', { class: `dot${front.has(dot) ? ' front' : ''}${isOwn ? ' own' : ''}`, role: 'button', tabindex: -1, 'aria-label': text, click: () => showDetails(dot.row, null) },
      draw('title', {}, text), draw('circle', { class: 'reach', cx: dot.left, cy: dot.top, r: 12 }), draw('circle', { cx: dot.left, cy: dot.top, r: 5 }));
  });
  marks[0].setAttribute('tabindex', 0);
  return roving(marks);
}

/** Marks of a chart as one stop of the Tab key, with arrows inside. */
function roving(marks) {
  marks.forEach((mark, place) => mark.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (event.key === 'Enter' || event.key === ' ') mark.dispatchEvent(new MouseEvent('click'));
    else if (!step) return;
    event.preventDefault();
    const next = marks[place + (step ?? 0)];
    if (!next) return;
    mark.setAttribute('tabindex', -1);
    next.setAttribute('tabindex', 0);
    next.focus();
  }));
  return marks;
}

/** Names beside dots, those of the front first, where there is room. */
function dotNames(shown, dots, front, room) {
  const taken = dots.map((dot) => ({ left: dot.left - 6, right: dot.left + 6, top: dot.top - 6, bottom: dot.top + 6 }));
  const isFree = (box) => box.left > room.left && box.right < room.right && box.top > room.top - 8 && box.bottom < room.bottom && !taken.some((one) => box.left < one.right && box.right > one.left && box.top < one.bottom && box.bottom > one.top);
  const names = [];
  for (const dot of [...dots].sort((one, other) => front.has(other) - front.has(one) || other.y - one.y).slice(0, 60)) {
    const { name } = namesOf(shown, dot.row);
    const text = name.length > 32 ? `${name.slice(0, 30)}\u2026` : name;
    const wide = text.length * 6.6;
    const places = [['start', dot.left + 10, dot.top + 4], ['end', dot.left - 10, dot.top + 4], ['middle', dot.left, dot.top - 11], ['middle', dot.left, dot.top + 20]];
    for (const [anchor, left, base] of places) {
      const from = { start: left, end: left - wide, middle: left - wide / 2 }[anchor];
      const box = { left: from, right: from + wide, top: base - 11, bottom: base + 3 };
      if (!isFree(box)) continue;
      taken.push(box);
      names.push(draw('text', { class: 'name', x: left, y: base, 'text-anchor': anchor, 'aria-hidden': 'true' }, text));
      break;
    }
  }
  return names;
}
