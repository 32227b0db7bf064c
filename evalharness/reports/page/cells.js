'use strict';
/* A row of the table: the model, and a cell for each column. */

const VOID = '\u2013';
const SHADES = 6;

function rowOf(shown, columns, row) {
  const line = make('tr', { 'data-row': row });
  line.append(modelCell(shown, row));
  columns.forEach((column, number) => line.append(cellOf(shown, column, row, number)));
  return line;
}

function modelCell(shown, row) {
  const { name, owner, changes } = namesOf(shown, row);
  const notes = notesOf(shown, row).length;
  const by = make('span', { class: 'by' });
  const isPublished = shown.of('published', row) === 1;
  if (shown.has('published') && !isPublished) by.append(make('span', { class: 'own' }, 'own run'), ' \u00b7 ');
  by.append(make('bdi', {}, [owner, ...changes].filter(Boolean).join(' \u00b7 ')));
  if (isPublished && hasBoth(shown)) by.append(owner ? ' \u00b7 published' : 'published');
  const title = make('span', { class: 'name' }, make('bdi', {}, name));
  if (notes) title.append(make('sup', { class: 'flag', 'aria-hidden': 'true' }, '*'), unseen(`, ${plural(notes, 'note')}`));
  return make('th', { scope: 'row', class: 'model', 'data-c': 0 },
    make('span', { class: 'named' }, make('span', { class: 'place' }), title, by));
}

function cellOf(shown, column, row, number) {
  const value = column.values[row];
  const cell = make('td', { 'data-c': number + 1 });
  if (column.starts) cell.classList.add('starts');
  if (column.kind === 'score') return scoreCell(cell, column, row, value);
  if (value === null) cell.classList.add('void');
  if (column.kind === 'words') cell.classList.add('words');
  if (column.kind === 'span') cell.classList.add('span');
  cell.append(value === null ? VOID : column.kind === 'words' ? make('bdi', {}, value) : column.show(value, row));
  return cell;
}

function scoreCell(cell, column, row, value) {
  if (value === null) {
    cell.classList.add('void');
    const counted = lacking(column.data, row);
    cell.append(VOID);
    if (counted) cell.append(make('small', { 'aria-hidden': 'true' }, `${counted.present}/${counted.of}`), unseen(`void: ${counted.present} of ${counted.of}`));
  } else {
    const text = points(value);
    cell.append(text);
    const { least, most, count, best } = column.scale;
    if (count > 1 && most > least) {
      cell.classList.add(`h${Math.round(SHADES * (value - least) / (most - least))}`);
      // what looks the same is marked the same
      if (text === best) cell.classList.add('best');
    }
    if (state.bars && column.data.l) addInterval(cell, column, row);
  }
  // a subset has no notes of its own
  if (column.task && column.part === undefined) flag(cell, saidOf(column.task, row));
  return cell;
}

function addInterval(cell, column, row) {
  const span = spanOf(column.data, row);
  if (!span) return;
  const { low, high } = column.scale;
  const at = (score) => (high > low ? (score - low) / (high - low) : 0.5);
  cell.classList.add('spanned');
  const line = make('i', { class: span.doubtful ? 'doubtful' : null });
  line.style.setProperty('--from', at(span.low));
  line.style.setProperty('--wide', at(span.high) - at(span.low));
  const mark = make('i');
  mark.style.setProperty('--from', at(column.values[row]));
  mark.style.setProperty('--wide', 0);
  cell.append(unseen(`, 95% interval ${points(span.low)} to ${points(span.high)}`), line, mark);
}

/** Marks of a task's score: a star for notes, a T for training data. */
function flag(cell, said) {
  const marks = [];
  if (said.trained === '1') marks.push(['T', 'in the training data']);
  if (said.notes.length) marks.push(['*', plural(said.notes.length, 'note')]);
  if (!marks.length) return;
  cell.classList.add('flagged');
  cell.append(make('sup', { class: 'flag', 'aria-hidden': 'true' }, marks.map(([mark]) => mark).join('')), unseen(`, ${marks.map(([, text]) => text).join(', ')}`));
}
