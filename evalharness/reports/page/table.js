'use strict';
/* The table: its head at once, its rows in pieces, so that hundreds of models do not keep a reader waiting. */

// cells of a piece, and the least height of a row in pixels
const PIECE = 1500;
const PIXELS = 45;
// cells that are made without being asked for, a piece at a time, in milliseconds from one to the next
const AT_LEISURE = 16000;
const PAUSE = 60;

const grid = byId('grid');
const frame = byId('frame');
let body = null;
let waiting = [];
// how many models the filters leave
let asked = 0;
let columns = [];
const leisure = { frame: 0, timer: 0 };
// rows as they were made, for as long as their cells stay the same
let made = new Map();

/** Show the board anew: head and rows. */
function showTable() {
  const shown = board();
  const groups = groupsOf(shown, state);
  groups.forEach((group) => group.columns.forEach((column, place) => { column.starts = place === 0 && group !== groups[0]; }));
  columns = groups.flatMap((group) => group.columns);
  const first = innerWidth <= 720 ? 168 : innerWidth < 1400 ? 244 : 280;
  frame.style.setProperty('--first', `${first}px`);
  const width = first + columns.reduce((sum, column) => sum + column.width, 0);
  const cols = make('colgroup', {}, widthOf(first), ...columns.map((column) => widthOf(column.width)));
  grid.replaceChildren(make('caption', { class: 'hidden' }, `${shown.title}, protocol ${shown.protocol}`), cols, headOf(groups), make('tbody'));
  grid.style.width = `max(100%, ${width}px)`;
  grid.setAttribute('aria-colcount', columns.length + 1);
  body = grid.tBodies[0];
  made = new Map();
  showRows();
}

function widthOf(pixels) {
  const col = make('col');
  col.style.width = `${pixels}px`;
  return col;
}

function headOf(groups) {
  const names = make('tr', { class: 'groups', 'aria-rowindex': 1 }, make('th', { class: 'model', scope: 'col' }, unseen('Groups of columns')));
  const heads = make('tr', { class: 'heads', 'aria-rowindex': 2 }, headCell({ key: 'model', head: 'Model', first: 'asc' }, 0));
  let number = 0;
  for (const group of groups) {
    names.append(make('th', { colspan: group.columns.length, scope: 'colgroup', class: [group !== groups[0] && 'starts', group.isOpen && 'inner'].filter(Boolean).join(' ') }, group.name));
    for (const column of group.columns) heads.append(headCell(column, (number += 1)));
  }
  return make('thead', {}, names, heads);
}

function headCell(column, number) {
  const order = orderOf();
  const isOrdered = order.key === column.key;
  const cell = make('th', { scope: 'col', 'data-key': column.key, 'data-c': number, 'aria-sort': isOrdered ? (order.descending ? 'descending' : 'ascending') : null });
  if (column.key === 'model') cell.classList.add('model');
  if (column.starts) cell.classList.add('starts');
  if (column.inner) cell.classList.add('inner');
  const name = make('span', { class: 'clip' }, breakable(column.head));
  const arrow = make('span', { class: 'arrow', 'aria-hidden': 'true' }, isOrdered ? (order.descending ? '\u25bc' : '\u25b2') : '');
  name.append(arrow);
  const sort = make('button', { type: 'button', class: 'sort', 'data-c': number, tabindex: -1, title: column.head.length > 24 ? column.head : null }, name);
  if (column.opens && !column.task && state.open.has(column.key)) sort.append(make('small', {}, 'mean'));
  if (column.small) sort.append(make('small', {}, breakable(column.small)));
  cell.append(sort);
  if (column.opens) {
    const isOpen = state.open.has(column.key);
    cell.append(make('button', { type: 'button', class: 'open', 'data-c': number, tabindex: -1, 'aria-expanded': String(isOpen), 'aria-label': `${column.opens} of ${column.head}` }, `${column.opens} ${isOpen ? '\u25c2' : '\u25b8'}`));
  }
  return cell;
}

/** Show the rows anew, the first ones at once. */
function showRows() {
  cancelAnimationFrame(leisure.frame);
  clearTimeout(leisure.timer);
  const shown = board();
  const isAsked = rowFilter(shown);
  const values = valuesOf(shown, orderOf(shown).key);
  const ordered = orderedRows(shown);
  // a place is among all models, whether they are shown or not; equal numbers share one, what has no value has none
  let first = 0;
  const placeOf = (row, before) => {
    const value = values?.[row];
    if (typeof value !== 'number' || value !== values[ordered[before - 1]]) first = before + 1;
    return value === null ? '' : String(first);
  };
  waiting = ordered.map((row, before) => ({ row, place: placeOf(row, before) }))
    .filter(({ row }) => isAsked(row))
    .map((one, number) => ({ ...one, number }));
  const count = waiting.length;
  asked = count;
  grid.setAttribute('aria-rowcount', count + 2);
  // what can be seen comes first; its height is asked for while nothing has changed, or all would be laid out twice
  const seen = Math.ceil(innerHeight / PIXELS) + 2;
  body.replaceChildren();
  if (!count) body.append(make('tr', {}, make('td', { class: 'nobody', colspan: columns.length + 1, 'data-c': 0 }, shown.size ? 'No model fits these filters.' : 'No models yet.')));
  addRows(seen);
  atLeisure();
  refocus();
  const told = `${count === shown.size ? '' : `${count.toLocaleString('en')} of `}${plural(shown.size, 'model')}${hiddenOrder(shown)}`;
  if (byId('count').textContent !== told) byId('count').textContent = told;
}

/** What orders the rows, where it is in no column that is shown: of a type that was closed, or of the report. */
function hiddenOrder(shown) {
  const { key } = orderOf(shown);
  const by = key === 'model' || columns.some((column) => column.key === key) ? null : columnByKey(shown, state, key);
  return by ? `, ordered by ${headOfPart(by)}` : '';
}

/** Add the next rows; gives whether there were any. */
function addRows(most = Math.max(8, Math.round(PIECE / columns.length))) {
  const next = waiting.splice(0, most);
  body.append(...next.map(placed));
  return next.length > 0;
}

/** A row at its place in the order. */
function placed({ row, place, number }) {
  if (!made.has(row)) made.set(row, rowOf(board(), columns, row));
  const line = made.get(row);
  line.setAttribute('aria-rowindex', number + 3);
  line.querySelector('.place').textContent = place;
  return line;
}

function atLeisure() {
  if (!waiting.length || body.rows.length * columns.length > AT_LEISURE) return;
  // what is there already is painted first
  leisure.frame = requestAnimationFrame(() => {
    leisure.timer = setTimeout(() => { if (addRows()) atLeisure(); }, PAUSE);
  });
}

/** Order by a column: its own direction first, then the other. */
function sortBy(key) {
  const order = orderOf();
  const column = key === 'model' ? { first: 'asc' } : columns.find((one) => one.key === key);
  const descending = order.key === key ? !order.descending : column.first === 'desc';
  frame.scrollTop = 0;
  choose({ sort: key, descending });
}

function markOrder() {
  const order = orderOf();
  for (const cell of grid.tHead.rows[1].cells) {
    const isOrdered = cell.dataset.key === order.key;
    if (isOrdered) cell.setAttribute('aria-sort', order.descending ? 'descending' : 'ascending');
    else cell.removeAttribute('aria-sort');
    cell.querySelector('.arrow').textContent = isOrdered ? (order.descending ? '\u25bc' : '\u25b2') : '';
  }
}

function toggleOpen(key) {
  const open = new Set(state.open);
  if (!open.delete(key)) open.add(key);
  choose({ open });
}

grid.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  const head = event.target.closest('th[data-key]');
  const cell = event.target.closest('tbody [data-c]');
  if (button?.classList.contains('open')) toggleOpen(head.dataset.key);
  else if (head) sortBy(head.dataset.key);
  else if (cell) activate(cell);
});

/** Show what is known of a cell. */
function activate(cell) {
  const row = cell.parentElement.dataset.row;
  if (row === undefined) return;
  const column = columns[Number(cell.dataset.c) - 1];
  showDetails(Number(row), column && column.kind === 'score' ? column : null);
}

const ahead = new IntersectionObserver((seen) => {
  if (!seen.some((one) => one.isIntersecting) || !body || !addRows()) return;
  // it tells of changes alone, and what was added may be too little
  ahead.unobserve(byId('more'));
  ahead.observe(byId('more'));
}, { root: frame, rootMargin: '0px 0px 200px 0px' });
ahead.observe(byId('more'));
addEventListener('beforeprint', () => addRows(Infinity));

function showLegend() {
  const shown = board();
  const said = [make('span', {}, make('b', {}, 'Bold'), ': best of its column')];
  const add = (mark, text) => said.push(make('span', {}, make('span', { class: 'flag' }, mark), ` ${text}`));
  if (asked < shown.size) said.push(make('span', {}, 'Places, ranks, bold and heat are among all models, also those that are filtered out'));
  const ranks = [['these', '\u201cthese tasks\u201d with other items'], ['like', '\u201ctasks like these\u201d with other tasks']].filter(([name]) => shown.has(name));
  if (ranks.length) said.push(make('span', {}, `Rank: 95% interval of the place by the mean; ${ranks.map(([, text]) => text).join(', ')}`));
  if (shown.mean.s.includes(null)) said.push(make('span', {}, `${VOID} 5/6: void, for only 5 of 6 have a score`));
  if (shown.tasks.some((task) => task.trained?.includes('1'))) add('T', 'the task is in the model\u2019s training data');
  if (shown.has('notes') || shown.tasks.some((task) => task.notes)) add('*', 'has notes');
  if (shown.tasks.some((task) => task.l)) said.push(make('span', {}, 'Lines: 95% intervals on the scale of their column, broken where there are too few items'));
  said.push(make('span', {}, 'Scores are main scores times 100; open one for what is known of it'));
  byId('legend').replaceChildren(...said);
}
