'use strict';
/* Which columns a board has, by what is open; a column says what it holds and how it is ordered. */

const FACTS = [
  ['parameters', 'Parameters', short, 'asc'],
  ['embedding', 'Embedding parameters', short, 'asc'],
  ['dimensions', 'Dimension', (value) => value.toLocaleString('en'), 'asc'],
  ['length', 'Max tokens', (value) => value.toLocaleString('en'), 'desc'],
  ['speed', 'Texts/s', (value) => value.toLocaleString('en', { maximumSignificantDigits: 3 }), 'desc'],
  ['zeroShot', 'Zero-shot', (value) => `${value}\u2009%`, 'desc'],
  ['released', 'Released', String, 'desc'],
  ['licence', 'Licence', String, 'asc'],
];

/** A column by its key, made once a board: what is costly to know of it is kept. */
function once(board, key, made) {
  if (!board.columns.has(key)) board.columns.set(key, { key, ...made() });
  return board.columns.get(key);
}

/** A column of scores; `data` as data.py writes it. */
function scores(board, key, head, data, more = {}) {
  return once(board, key, () => ({ head, kind: 'score', first: 'desc', values: data.s, data, scale: scaleOf(data), width: 86, ...more }));
}

/** From which to which score a column goes, intervals included; its best, and how that is shown; and how many there are. */
function scaleOf(data) {
  const there = data.s.filter((score) => score !== null);
  let [low, high, least, most] = [Infinity, -Infinity, Infinity, -Infinity];
  data.s.forEach((score, row) => {
    if (score === null) return;
    const below = data.l?.[row] ?? 0;
    const above = data.h?.[row] ?? 0;
    low = Math.min(low, score - below);
    high = Math.max(high, score + above);
    least = Math.min(least, score);
    most = Math.max(most, score);
  });
  return { low, high, least, most, count: there.length, best: there.length ? points(most) : '' };
}

/** Pixels that the longest word of a name needs. */
const roomFor = (name, least) => Math.min(156, Math.max(least, Math.ceil(24 + 8.2 * Math.max(...piecesOf(name).map((piece) => piece.length)))));

function overall(board, state) {
  const found = [
    scores(board, 'mean', 'Mean', board.mean, { small: plural(board.tasks.length, 'task') }),
    scores(board, 'byType', 'Mean by type', board.byType, { small: plural(board.types.length, 'type') }),
  ];
  if (board.commonMean) {
    found.push(scores(board, 'common', 'Common tasks', board.commonMean, { small: `${board.common.length} of ${board.tasks.length}` }));
  }
  if (state.types) found.push(ofShown(board, state));
  board.more.forEach((more, place) => found.push(scores(board, `more:${place}`, more.title, more)));
  if (board.has('borda')) {
    found.push(once(board, 'borda', () => ({ head: 'Borda', small: 'rank', kind: 'number', first: 'asc', values: board.rows.borda, show: String, width: 66 })));
  }
  const ranks = [['these', 'Rank', 'these tasks'], ['like', 'Rank', 'tasks like these']];
  for (const [key, head, small] of ranks.filter(([name]) => board.has(name))) {
    found.push(once(board, key, () => ({
      head, small, kind: 'span', first: 'asc', width: 84,
      values: board.rows[key].map((span) => span && span[0] + span[1] / 1e4),
      show: (_, row) => [...new Set(board.rows[key][row])].join('\u2013'),
    })));
  }
  return found;
}

/** The mean over the tasks of the types that are chosen, void where one is missing. */
function ofShown(board, state) {
  const types = board.types.filter((type) => state.types.has(type.name));
  const tasks = types.flatMap((type) => type.tasks.map((place) => board.tasks[place]));
  const found = once(board, `shown:${JSON.stringify(types.map((type) => type.name))}`, () => {
    const s = [];
    const present = {};
    for (let row = 0; row < board.size; row += 1) {
      const there = tasks.filter((task) => task.s[row] !== null);
      const isWhole = there.length === tasks.length && tasks.length > 0;
      // rounded once, where it is shown
      s.push(isWhole ? there.reduce((sum, task) => sum + task.s[row], 0) / tasks.length : null);
      if (!isWhole) present[row] = there.length;
    }
    // a mean that is there already is not made again of rounded scores
    if (types.length === 1) s.splice(0, s.length, ...types[0].s);
    const data = { s, of: tasks.length, present };
    return { head: 'Mean, shown', small: plural(tasks.length, 'task'), kind: 'score', first: 'desc', values: s, data, scale: scaleOf(data), width: 92 };
  });
  // an order by it goes on when other types are chosen
  found.key = 'shown';
  return found;
}

/** A type, its tasks if it is open, and the subsets of those that are. */
function ofType(board, type, state) {
  const key = `type:${type.name}`;
  const head = scores(board, key, type.name, type, { opens: plural(type.tasks.length, 'task'), width: roomFor(type.name, 100) });
  if (!state.open.has(key)) return [head];
  return [head, ...type.tasks.flatMap((place) => ofTask(board, board.tasks[place], state))];
}

function ofTask(board, task, state) {
  const key = `task:${task.name}`;
  const several = task.parts.length > 1;
  const more = { task, small: task.metric ?? '', width: roomFor(`${task.name} ${task.metric ?? ''}`, 96), inner: true, opens: several ? plural(task.parts.length, 'subset') : null };
  const column = scores(board, key, task.name, task, more);
  if (!several || !state.open.has(key)) return [column];
  const parts = task.parts.map((part, place) =>
    scores(board, `part:${task.name}/${part.split}/${part.subset}`, partName(part), part, { task, part: place, small: part.languages.join(', '), width: 92, inner: true }));
  return [column, ...parts];
}

function facts(board) {
  return FACTS.filter(([key]) => board.has(key)).map(([key, head, show, first]) =>
    once(board, key, () => {
      const isText = key === 'licence';
      return { head, kind: isText ? 'words' : 'number', first, values: board.rows[key], show, width: roomFor(head, isText ? 118 : 96) };
    }));
}

/** A column's head where the task's own is not beside it. */
const headOfPart = (column) => (column.part === undefined ? column.head : `${column.task.name} ${column.head}`);

const isShown = (type, state) => !state.types || state.types.has(type.name);

/** All columns that are shown, in groups: [{ name, columns }]; the model's own is not among them. */
function groupsOf(board, state) {
  const groups = [{ name: 'Overall', columns: overall(board, state) }];
  for (const type of board.types.filter((one) => isShown(one, state))) {
    const columns = ofType(board, type, state);
    const last = groups.at(-1);
    if (columns.length > 1) groups.push({ name: type.name, columns, isOpen: true });
    else if (last.name === 'Task types') last.columns.push(...columns);
    else groups.push({ name: 'Task types', columns });
  }
  const known = state.facts ? facts(board) : [];
  return known.length ? [...groups, { name: 'Model', columns: known }] : groups;
}

const columnsOf = (board, state) => groupsOf(board, state).flatMap((group) => group.columns);

/** Every column that a board can be ordered by, whether it is shown or not; null for any other key. */
function columnByKey(board, state, key) {
  if (key === 'shown') return state.types ? ofShown(board, state) : null;
  if (!board.columns.has(key)) {
    // a column is made when it is first asked for
    const all = { ...state, open: { has: () => true }, facts: true };
    columnsOf(board, all);
    columnsOf(board, { ...all, types: null });
  }
  return board.columns.get(key) ?? null;
}
