'use strict';
/* What a reader has chosen; it stands in the address behind the #, so that a view can be linked. */

const SORTED_BY = { mean: 'mean', 'type-mean': 'byType', borda: 'borda', common: 'common', name: 'model', parameters: 'parameters', speed: 'speed' };
const SWITCHES = ['heat', 'bars', 'facts'];
const ORIGINS = [['', 'All'], ['results', 'Own runs'], ['published', 'Published scores']];
const ZERO_SHOTS = [['', 'Any'], ['100', '100 %: no task of this list'], ['90', 'at least 90 %'], ['75', 'at least 75 %'], ['0', 'known']];
const KEPT = 'evalharness-theme';

/** A state without any choice. */
const fresh = () => ({
  board: 0, sort: null, descending: true, query: '', types: null, open: new Set(), origin: '', families: new Set(),
  least: '', most: '', zeroShot: '', heat: false, bars: true, facts: true, cost: '', by: '',
});

const state = fresh();
const listeners = [];

/** Take a choice, and have what depends on it shown again. */
function choose(choice) {
  Object.assign(state, choice);
  writeAddress();
  listeners.forEach((listen) => listen(Object.keys(choice)));
}

const board = () => BOARDS[state.board];

/** What orders the rows: the reader's choice, or what the report was ordered by. */
function orderOf(shown = board()) {
  if (state.sort && valuesOf(shown, state.sort)) return { key: state.sort, descending: state.descending };
  const by = shown.sorted;
  const key = SORTED_BY[by] ?? (shown.types.some((type) => type.name === by) ? `type:${by}` : `task:${by}`);
  const column = columnByKey(shown, state, key);
  return { key, descending: column ? column.first === 'desc' : false, isGiven: true };
}

/** Places of all rows in order; rows without a value come last, equal ones stay as the report has them. */
function orderedRows(shown = board()) {
  const order = orderOf(shown);
  const rows = Array.from({ length: shown.size }, (_, row) => row);
  if (order.isGiven) return rows;
  const values = valuesOf(shown, order.key);
  if (!values) return rows;
  const sign = order.descending ? -1 : 1;
  const compared = typeof values.find((value) => value !== null) === 'string'
    ? (one, other) => LETTERS.compare(one, other)
    : (one, other) => one - other;
  return rows.sort((one, other) => {
    const [a, b] = [values[one], values[other]];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * compared(a, b);
  });
}
const valuesOf = (shown, key) => (key === 'model' ? shown.rows.model : columnByKey(shown, state, key)?.values);
const LETTERS = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

/** A text as it is searched: capitals, accents and widths make no difference. */
const searched = (text) => text.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();
// of a revision; fewer are in too many of them
const LEAST_DIGITS = 6;

/** Whether a row is among those that are asked for. */
function rowFilter(shown = board()) {
  const words = searched(state.query).split(/\s+/).filter(Boolean);
  const [least, most] = [state.least, state.most].map((text) => (text === '' ? null : Number(text) * 1e6));
  return (row) => {
    if (state.origin && (state.origin === 'published') !== (shown.of('published', row) === 1)) return false;
    if (state.families.size && !state.families.has(namesOf(shown, row).family)) return false;
    const size = shown.of('parameters', row);
    if (least !== null && !(size !== null && size >= least)) return false;
    if (most !== null && !(size !== null && size <= most)) return false;
    const zeroShot = shown.of('zeroShot', row);
    if (state.zeroShot && !(zeroShot !== null && zeroShot >= Number(state.zeroShot))) return false;
    if (!words.length) return true;
    const text = searched(`${labelOf(shown, row)} ${shown.of('licence', row) ?? ''}`);
    const revision = searched(shown.of('revision', row));
    return words.every((word) => text.includes(word) || (word.length >= LEAST_DIGITS && revision.startsWith(word)));
  };
}

function writeAddress() {
  const told = new URLSearchParams();
  if (state.board) told.set('board', board().name);
  if (state.sort) told.set('sort', `${state.descending ? '-' : ''}${state.sort}`);
  for (const name of ['query', 'origin', 'least', 'most', 'zeroShot', 'cost', 'by']) if (state[name]) told.set(name, state[name]);
  for (const name of ['families', 'types', 'open']) if (state[name]?.size || (name === 'types' && state.types)) told.set(name, JSON.stringify([...state[name]]));
  for (const name of SWITCHES) if (state[name] !== fresh()[name]) told.set(name, state[name] ? '1' : '0');
  try {
    history.replaceState(null, '', told.size ? `#${told}` : location.pathname + location.search);
  } catch {
    // a page inside another one may have no address of its own
  }
}

/** Set the state by the address; what makes no sense there is as if it were not there. */
function readAddress() {
  const told = new URLSearchParams(location.hash.slice(1));
  const found = fresh();
  found.board = Math.max(0, BOARDS.findIndex((one) => one.name === told.get('board')));
  const shown = BOARDS[found.board];
  for (const name of ['query', 'cost', 'by']) found[name] = told.get(name) ?? '';
  if (ORIGINS.some(([value]) => value === told.get('origin'))) found.origin = told.get('origin');
  if (ZERO_SHOTS.some(([value]) => value === told.get('zeroShot'))) found.zeroShot = told.get('zeroShot');
  for (const name of ['least', 'most']) if (Number.isFinite(Number(told.get(name) ?? NaN))) found[name] = told.get(name);
  found.open = new Set(listIn(told.get('open')));
  const families = new Set(shown.rows.model.map((_, row) => namesOf(shown, row).family));
  found.families = new Set(listIn(told.get('families')).filter((name) => families.has(name)));
  const asked = listIn(told.get('types'), null);
  const types = asked?.filter((name) => shown.types.some((type) => type.name === name));
  // none at all can be chosen, but not by names that are not there any more
  if (types && (types.length || !asked.length)) found.types = new Set(types);
  for (const name of SWITCHES) if (told.has(name)) found[name] = told.get(name) === '1';
  const sort = told.get('sort') ?? '';
  const key = sort.replace(/^-/, '');
  if (key === 'model' || columnByKey(shown, found, key)) {
    found.sort = key;
    found.descending = sort.startsWith('-');
  }
  Object.assign(state, found);
}

function listIn(text, otherwise = []) {
  try {
    const found = JSON.parse(text);
    return Array.isArray(found) ? found.filter((item) => typeof item === 'string') : otherwise;
  } catch {
    return otherwise;
  }
}

/** Light, dark, or as the system has it; kept where the browser lets us keep anything. */
function keptTheme() {
  try {
    return localStorage.getItem(KEPT) ?? '';
  } catch {
    return document.documentElement.dataset.theme ?? '';
  }
}

function setTheme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  try {
    localStorage.setItem(KEPT, name);
  } catch {
    // then it holds until the page is left
  }
}
