'use strict';
/* Checkpoints of trainings: how the score of each task type moves from step to step. */

const seriesSection = byId('series');

let chosenSeries = ['', ''];

function showSeries() {
  const shown = board();
  const all = shown.series.map(({ name, rows }) => [name || 'all checkpoints', rows]);
  seriesSection.hidden = !all.length;
  if (!all.length) return;
  const named = (name) => all.find(([one]) => one === name);
  const first = named(chosenSeries[0]) ?? all[0];
  const second = named(chosenSeries[1]) === first ? undefined : named(chosenSeries[1]);
  const pick = (place) => (value) => { chosenSeries[place] = value; showSeries(); };
  keepChoices(seriesSection, () => (all.length < 2 ? [] : [
    chooser('Series', all.map(([name]) => [name, name]), first[0], pick(0)),
    chooser('beside', [['', 'none'], ...all.filter((one) => one !== first).map(([name]) => [name, name])], second?.[0] ?? '', pick(1)),
  ]));
  const lines = [first, second].filter(Boolean).map(([, rows]) => rows);
  const columns = [['Mean over tasks', shown.mean], ...shown.types.filter((type) => isShown(type, state)).map((type) => [type.name, type])];
  const panels = columns.filter(([, column]) => lines.flat().some((row) => column.s[row] !== null)).map(([name, column]) => panel(shown, name, column, lines));
  const chart = seriesSection.querySelector('.chart');
  chart.replaceChildren(make('div', { class: 'panels' }, ...panels));
  const hasSpans = columns.some(([, column]) => column.l);
  seriesSection.querySelector('.under').textContent = `${lines.length > 1 ? `Solid: ${first[0]}; broken: ${second[0]}. ` : `${first[0]}, ${plural(first[1].length, 'checkpoint')}. `}${hasSpans ? 'Bands: 95% intervals. ' : ''}Each panel has a scale of its own.`;
}

function panel(shown, name, column, lines) {
  const [width, height] = [300, 190];
  const edge = { left: 44, right: 16, top: 34, bottom: 26 };
  const there = lines.map((rows) => rows.filter((row) => column.s[row] !== null));
  const stepOf = (row) => shown.of('step', row);
  const ends = there.flat().flatMap((row) => { const span = spanOf(column, row); return span ? [span.low, span.high] : [column.s[row]]; });
  const steps = lines.flat().map(stepOf);
  const [least, most] = [Math.min(...steps), Math.max(...steps)];
  const x = (row) => edge.left + (width - edge.left - edge.right) * (most > least ? (stepOf(row) - least) / (most - least) : 0.5);
  const y = axis(ends, height - edge.bottom, edge.top, false);
  const chart = draw('svg', { viewBox: `0 0 ${width} ${height}`, role: 'group', 'aria-label': `${name} by step` }, draw('text', { class: 'title', x: 14, y: 21 }, name.length > 34 ? `${name.slice(0, 33)}\u2026` : name));
  for (const value of evenTicks(y, 3)) {
    chart.append(draw('line', { class: 'grid', x1: edge.left, x2: width - edge.right, y1: y.at(value), y2: y.at(value) }), draw('text', { x: edge.left - 8, y: y.at(value) + 4, 'text-anchor': 'end' }, String(Number((value / 1000).toFixed(2)))));
  }
  chart.append(draw('text', { x: edge.left, y: height - 8 }, short(least)), draw('text', { x: width - edge.right, y: height - 8, 'text-anchor': 'end' }, `step ${short(most)}`));
  there.forEach((rows, place) => {
    const other = place ? ' other' : '';
    const spanned = rows.filter((row) => spanOf(column, row));
    const path = (points) => points.map(([left, top], number) => `${number ? 'L' : 'M'}${left.toFixed(1)} ${top.toFixed(1)}`).join('');
    if (spanned.length > 1) {
      const up = spanned.map((row) => [x(row), y.at(spanOf(column, row).high)]);
      const down = spanned.map((row) => [x(row), y.at(spanOf(column, row).low)]).reverse();
      chart.append(draw('path', { class: `band${other}`, d: `${path([...up, ...down])}Z` }));
    }
    chart.append(draw('path', { class: `line${other}`, d: path(rows.map((row) => [x(row), y.at(column.s[row])])) }));
  });
  const marks = there.flatMap((rows, place) => rows.map((row) => {
    const text = `${name}, step ${stepOf(row).toLocaleString('en')}: ${points(column.s[row])}`;
    return draw('g', { class: `dot front${place ? ' other' : ''}`, role: 'button', tabindex: -1, 'aria-label': text, click: () => showDetails(row, null) },
      draw('title', {}, text), draw('circle', { class: 'reach', cx: x(row), cy: y.at(column.s[row]), r: 12 }), draw('circle', { cx: x(row), cy: y.at(column.s[row]), r: 3.5 }));
  }));
  marks[0]?.setAttribute('tabindex', 0);
  chart.append(...roving(marks));
  return chart;
}
