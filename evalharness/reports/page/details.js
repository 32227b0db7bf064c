'use strict';
/* What is known of a score, or of a model, in a sheet of its own. */

const dialog = byId('details');
let cellOfDetails = null;

/** Show all that is known of a row in a column; of the row itself where there is none. */
function showDetails(row, column) {
  const shown = board();
  cellOfDetails = { row, key: column?.key ?? 'model' };
  byId('details-title').replaceChildren(make('bdi', {}, labelOf(shown, row)));
  byId('details-about').replaceChildren(column ? make('bdi', {}, aboutColumn(column)) : `revision ${shown.of('revision', row)}`);
  const parts = column ? ofScore(shown, row, column) : ofModel(shown, row);
  dialog.querySelector('.body').replaceChildren(...parts.filter(Boolean));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  byId('details-title').focus();
}

function aboutColumn(column) {
  const { task } = column;
  if (!task) return [column.head, column.small ?? column.opens].filter(Boolean).join(', ');
  return [task.name, column.part === undefined ? null : partName(task.parts[column.part]), task.type, task.metric].filter(Boolean).join(' \u00b7 ');
}

/** Terms and what they are; those without are left out. */
function termList(pairs) {
  const there = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
  return there.length ? make('dl', {}, ...there.flatMap(([term, value]) => [make('dt', {}, term), make('dd', {}, value)])) : null;
}

function textList(title, texts) {
  return texts.length ? make('section', {}, make('h3', {}, title), make('ul', {}, ...texts.map((text) => make('li', {}, make('bdi', {}, text))))) : null;
}

function ofScore(shown, row, column) {
  const value = column.values[row];
  const span = spanOf(column.data, row);
  const counted = lacking(column.data, row);
  const whole = column.task && column.part === undefined ? column.task : null;
  const said = whole ? saidOf(whole, row) : { missing: '', notes: [], source: '', trained: '?' };
  const rank = rankIn(column, row);
  const trained = { 1: 'yes: the model has seen data of this task', 0: 'no', '?': null }[said.trained];
  return [
    make('p', { class: 'big' }, value === null ? VOID : points(value)),
    value === null ? make('p', { class: 'reason' }, counted ? `Void: ${counted.present} of ${counted.of} have a score.` : said.missing || 'No score.') : null,
    termList([
      ['95% interval', span && `${points(span.low)} to ${points(span.high)}${span.doubtful ? ' (too few items for it to be trusted)' : ''}`],
      ['made by', span?.method],
      ['place', rank],
      ['metric', whole?.metric],
      ['languages', column.task && languagesOf(column)],
      ['published in', said.source],
      ['in training data', trained],
      ['what is missing', value !== null || counted ? said.missing : null],
    ]),
    textList('Notes', said.notes),
    whole ? subsetTable(whole, row) : null,
    column.data.tasks ? taskTable(shown, column.data, row) : null,
    column.task ? itemBlock(shown, column, row) : null,
  ];
}

function languagesOf(column) {
  const parts = column.part === undefined ? column.task.parts : [column.task.parts[column.part]];
  const named = [...new Set(parts.flatMap((part) => part.languages))];
  return named.length > 8 ? `${named.slice(0, 8).join(', ')} and ${named.length - 8} more` : named.join(', ');
}

function rankIn(column, row) {
  const value = column.values[row];
  if (value === null) return null;
  const better = column.values.filter((other) => other !== null && other > value).length;
  return `${better + 1} of ${column.scale.count}`;
}

/** Scores of a row by name, with their intervals where there is any; `lines` are [name, column]. */
function scoreTable(title, head, lines, row) {
  const isSpanned = lines.some(([, column]) => spanOf(column, row));
  const heads = [head, 'Score', ...(isSpanned ? ['95% interval'] : [])];
  const table = make('table', {}, make('thead', {}, make('tr', {}, ...heads.map((name) => make('th', { scope: 'col' }, name)))),
    make('tbody', {}, ...lines.map(([name, column]) => scoreLine(name, column, row, isSpanned))));
  return make('section', {}, make('h3', {}, title), make('div', { class: 'list', tabindex: 0, role: 'region', 'aria-label': title }, table));
}

function scoreLine(name, column, row, isSpanned) {
  const span = spanOf(column, row);
  const value = column.s[row];
  return make('tr', {}, make('th', { scope: 'row' }, make('bdi', {}, name)), make('td', {}, value === null ? VOID : points(value)),
    isSpanned ? make('td', {}, span ? `${points(span.low)} \u2013 ${points(span.high)}` : '') : null);
}

function subsetTable(task, row) {
  if (task.parts.length < 2) return null;
  return scoreTable(plural(task.parts.length, 'subset'), 'Subset', task.parts.map((part) => [partName(part), part]), row);
}

function taskTable(shown, type, row) {
  const tasks = type.tasks.map((place) => shown.tasks[place]);
  return scoreTable(plural(tasks.length, 'task'), 'Task', tasks.map((task) => [task.name, task]), row);
}

function ofModel(shown, row) {
  const of = (name) => shown.of(name, row);
  const known = FACTS.map(([name, term, show]) => [term.toLowerCase(), of(name) === null ? null : show(of(name))]);
  const missing = shown.tasks.filter((task) => saidOf(task, row).missing).map((task) => `${task.name}: ${saidOf(task, row).missing}`);
  const noted = shown.tasks.flatMap((task) => saidOf(task, row).notes.map((note) => `${task.name}: ${note}`));
  const trained = shown.tasks.filter((task) => saidOf(task, row).trained === '1').map((task) => task.name);
  const mean = shown.mean.s[row];
  const counted = lacking(shown.mean, row);
  return [
    make('p', { class: 'big' }, mean === null ? VOID : points(mean)),
    make('p', { class: 'reason' }, mean === null ? `The mean is void: ${counted.present} of ${counted.of} tasks have a score.` : `mean over ${plural(shown.tasks.length, 'task')}`),
    termList([
      ['scores', shown.has('published') ? (of('published') ? 'published by others' : 'own run') : null],
      ['second stage', of('stage')],
      ['other settings', of('changed')],
      ['training step', of('step')?.toLocaleString('en') ?? null],
      ...known,
      ['weights', of('open') === null ? null : of('open') ? 'open' : 'not open'],
      ['made from', of('madeFrom')],
      ['superseded by', of('superseded')],
      ['described at', linkTo(of('link'))],
    ]),
    textList('Notes', [...notesOf(shown, row), ...noted]),
    textList('Missing', missing),
    textList('Tasks in its training data', trained),
    scoreTable(plural(shown.types.length, 'task type'), 'Type', shown.types.map((type) => [type.name, type]), row),
  ];
}

/** An address as a link, if it is one of the web; any other text stays text. */
function linkTo(address) {
  if (!address) return null;
  return /^https?:\/\//i.test(address) ? make('a', { href: address, rel: 'noreferrer noopener', target: '_blank' }, address) : address;
}

// the browser gives the focus back, but for what was made anew since: its successor gets it
dialog.addEventListener('close', () => {
  if (document.activeElement !== document.body && !dialog.contains(document.activeElement)) return;
  const { row, key } = cellOfDetails;
  const line = body.querySelector(`[data-row="${row}"]`);
  goTo(line ? cellAt(line, columns.findIndex((column) => column.key === key) + 1) : headButtons()[0]);
});
byId('close').addEventListener('click', () => dialog.close());
// the sheet's own ground is the dialog's edge: a click there is beside it
dialog.addEventListener('click', (event) => {
  const { left, top, right, bottom } = dialog.getBoundingClientRect();
  const isBeside = event.clientX < left || event.clientX > right || event.clientY < top || event.clientY > bottom;
  if (event.target === dialog && isBeside) dialog.close();
});
