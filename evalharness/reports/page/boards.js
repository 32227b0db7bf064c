'use strict';
/* The data: what data.py and items.py write, and the only file that knows how it is written. */

const DATA = JSON.parse(byId('data').textContent);
const TEXTS = DATA.texts;
const BOARDS = DATA.boards.map((board, number) => opened(board, DATA.items[number]));

// what tells boards apart, for people and in links
for (const one of BOARDS) {
  const isAlone = BOARDS.filter((other) => other.title === one.title).length === 1;
  one.name = isAlone ? one.title : `${one.title} (${one.protocol})`;
}

/** A board with a value for each row's place, and texts for their numbers. */
function opened(board, items) {
  const rows = board.rows;
  return {
    ...board,
    size: rows.model.length,
    notes: board.notes.map((place) => TEXTS[place]),
    items,
    columns: new Map(),
    /** What is known of a row: null where nothing is. */
    of: (name, row) => rows[name]?.[row] ?? null,
    has: (name) => name in rows,
  };
}

/** A score in points with two decimals, rounded as every other format rounds it. */
function points(steps) {
  const hundredths = Math.floor((steps + 5) / 10);
  const digits = String(Math.abs(hundredths)).padStart(3, '0');
  return `${hundredths < 0 ? '\u2212' : ''}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

/** The interval of a column's score in a row; null where there is none. */
function spanOf(column, row) {
  const below = column.l?.[row] ?? null;
  if (below === null) return null;
  const score = column.s[row];
  return { low: score - below, high: score + column.h[row], doubtful: column.u?.includes(row) ?? false, method: column.m === undefined ? '' : TEXTS[column.m] };
}

/** Of how many a void mean has how many; null where it is not void. */
function lacking(column, row) {
  return column.s[row] === null && column.of !== undefined ? { present: column.present?.[row] ?? 0, of: column.of } : null;
}

/** What is said of a task's score. */
function saidOf(task, row) {
  return {
    missing: task.missing?.[row] === undefined ? '' : TEXTS[task.missing[row]],
    notes: (task.notes?.[row] ?? []).map((place) => TEXTS[place]),
    source: task.source?.[row] === undefined ? '' : TEXTS[task.source[row]],
    trained: task.trained?.[row] ?? '?',
  };
}

/** Whether some scores are published ones and some are not. */
const hasBoth = (board) => board.has('published') && board.rows.published.includes(null);

const notesOf = (board, row) => (board.of('notes', row) ?? []).map((place) => TEXTS[place]);

/** Name of a model as it is shown: whose it is, what it is called, and what was done to it. */
function namesOf(board, row) {
  const model = board.of('model', row);
  const cut = model.lastIndexOf('/');
  return {
    whole: model,
    family: cut > 0 ? model.slice(0, model.indexOf('/')) : '',
    owner: cut > 0 ? model.slice(0, cut) : '',
    name: cut > 0 ? model.slice(cut + 1) : model,
    changes: [board.of('stage', row) && `+ ${board.of('stage', row)}`, board.of('changed', row)].filter(Boolean),
  };
}

const labelOf = (board, row) => [board.of('model', row), ...namesOf(board, row).changes].join(' ');

/** 109482240 as 109M. */
function short(count) {
  const [unit, size] = count >= 9.995e8 ? ['B', 1e9] : count >= 9.995e5 ? ['M', 1e6] : count >= 1e4 ? ['k', 1e3] : ['', 1];
  const value = count / size;
  return `${size === 1 ? value.toLocaleString('en') : Number(value.toFixed(value < 9.95 ? 1 : 0))}${unit}`;
}

/** A subset as people name it. */
function partName(part) {
  return part.subset === 'default' ? part.split : part.split === 'test' ? part.subset : `${part.subset} (${part.split})`;
}
