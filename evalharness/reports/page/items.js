'use strict';
/* Scores of single items: how they are spread, the lowest and highest, and two models side by side. */

const ITEM_STEPS = 1000;
const itemScore = (value) => (value === null || value === undefined ? VOID : (value / ITEM_STEPS).toFixed(3).replace('-', '\u2212'));

/** The subsets of a task that a row has items of. */
function itemsOf(shown, task, row) {
  const place = shown.tasks.indexOf(task);
  return (shown.items?.tasks[place] ?? []).filter((one) => one.rows[row]);
}

/** Everything about a row's items of a task, or of one of its subsets. */
function itemBlock(shown, column, row) {
  const all = itemsOf(shown, column.task, row);
  const found = column.part === undefined ? all : all.filter((one) => one.part === column.part);
  if (!found.length) return null;
  const block = make('section', { 'aria-label': 'Items' });
  const show = (view, other) => block.replaceChildren(...itemsWith(shown, row, found, view, other, show));
  show(found[0], null);
  return block;
}

function itemsWith(shown, row, found, view, other, show) {
  const others = Object.keys(view.rows).map(Number).filter((one) => one !== row);
  const second = others.includes(other) ? other : null;
  const parts = found.map((one) => [one.part, partName(one)]);
  return [
    make('h3', {}, 'Items'),
    make('p', { class: 'under' }, `${view.what}; ${plural(view.rows[row].n, 'item')}. Items have their ids; their texts are not stored.`),
    make('div', { class: 'with' },
      found.length > 1 ? chooser('Subset ', parts, view.part, (value) => show(found.find((one) => one.part === Number(value)), second)) : null,
      others.length ? chooser('Beside ', [['', 'no other model'], ...others.map((one) => [one, labelOf(shown, one)])], second ?? '', (value) => show(view, value === '' ? null : Number(value))) : null),
    second === null ? null : make('p', { class: 'under keys' }, named(shown, row, 'key'), named(shown, second, 'key other')),
    spreadChart(view, [row, second].filter((one) => one !== null)),
    make('h3', {}, second === null ? 'Lowest and highest of all models' : 'Item by item, those that differ most first'),
    make('div', { class: 'list', tabindex: 0, role: 'region', 'aria-label': 'Scores of items' }, second === null ? ownItems(view, row) : bothItems(shown, view, row, second)),
    ...(shown.items.left.length ? [make('p', { class: 'under' }, shown.items.left.join(' '))] : []),
  ].filter(Boolean);
}

const named = (shown, row, mark) => make('span', {}, make('span', { class: mark }), make('bdi', {}, labelOf(shown, row)));

/** How often scores are in each twentieth of their range. */
function spreadChart(view, rows) {
  const [width, height, left, foot] = [520, 150, 8, 22];
  const spreads = rows.map((row) => view.rows[row].spread.map((count) => count / Math.max(1, view.rows[row].n)));
  const most = Math.max(...spreads.flat(), 1e-9);
  const bins = spreads[0].length;
  const step = (width - 2 * left) / bins;
  const chart = draw('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `How scores are spread from ${view.range[0]} to ${view.range[1]}: ${spoken(view, rows[0])}` });
  spreads.forEach((spread, place) => {
    const wide = (step - 3) / spreads.length;
    spread.forEach((share, bin) => {
      if (!share) return;
      const tall = Math.max(1.5, (height - foot - 14) * share / most);
      chart.append(draw('rect', { class: place ? 'bar other' : 'bar', x: left + bin * step + place * wide + 1.5, y: height - foot - tall, width: wide, height: tall, rx: 1.5 }));
    });
  });
  chart.append(draw('line', { class: 'grid', x1: left, x2: width - left, y1: height - foot, y2: height - foot }));
  [0, 0.5, 1].forEach((at) => {
    const value = view.range[0] + at * (view.range[1] - view.range[0]);
    chart.append(draw('text', { x: left + at * (width - 2 * left), y: height - 6, 'text-anchor': at === 0 ? 'start' : at === 1 ? 'end' : 'middle' }, String(Number(value.toFixed(2)))));
  });
  return make('div', { class: 'chart' }, chart);
}

function spoken(view, row) {
  const { spread, n } = view.rows[row];
  const half = spread.length / 2;
  const low = spread.slice(0, half).reduce((sum, count) => sum + count, 0);
  return `${low} of ${n} in the lower half, ${n - low} in the upper`;
}

function itemTable(heads, lines) {
  return make('table', {}, make('thead', {}, make('tr', {}, ...heads.map((head) => make('th', { scope: 'col' }, head)))),
    make('tbody', {}, ...lines.map(([name, ...values]) => make('tr', {}, make('th', { scope: 'row' }, make('bdi', {}, name)), ...values.map((value) => make('td', {}, value))))));
}

function ownItems(view, row) {
  const rows = Object.values(view.rows);
  const mean = (place) => {
    const there = rows.map((one) => one.s[place]).filter((value) => value !== null);
    return itemScore(there.reduce((sum, value) => sum + value, 0) / there.length);
  };
  const own = view.rows[row].s;
  const places = view.ids.map((_, place) => place).filter((place) => own[place] !== null).sort((one, other) => own[one] - own[other]);
  return itemTable(['Item', 'Score', 'Mean of models'], places.map((place) => [view.ids[place], itemScore(own[place]), mean(place)]));
}

function bothItems(shown, view, row, second) {
  const [own, other] = [view.rows[row].s, view.rows[second].s];
  const places = view.ids.map((_, place) => place).filter((place) => own[place] !== null && other[place] !== null);
  places.sort((one, two) => Math.abs(own[two] - other[two]) - Math.abs(own[one] - other[one]));
  const signed = (value) => `${value > 0 ? '+' : ''}${itemScore(value)}`;
  return itemTable(['Item', namesOf(shown, row).name, namesOf(shown, second).name, 'Difference'],
    places.map((place) => [view.ids[place], itemScore(own[place]), itemScore(other[place]), signed(own[place] - other[place])]));
}
