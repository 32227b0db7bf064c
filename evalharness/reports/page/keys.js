'use strict';
/* The table by keyboard: one stop of the Tab key, arrows inside. */

let current = { row: -1, column: 0 };

const headButtons = () => [...grid.tHead.rows[1].querySelectorAll('button')];
const cellAt = (line, column) => line.querySelector(`[data-c="${Math.min(column, columns.length)}"]`) ?? line.cells[0];

/** Make a cell, or a button of the head, the one that Tab comes to. */
function stopAt(element) {
  for (const old of grid.querySelectorAll('[tabindex="0"]')) old.tabIndex = -1;
  element.tabIndex = 0;
  const line = element.closest('tr');
  current = { row: line.parentElement === body ? line.sectionRowIndex : -1, column: Number(element.dataset.c) };
}

function goTo(element) {
  if (!element) return;
  stopAt(element);
  element.focus({ preventScroll: true });
  element.scrollIntoView({ block: 'nearest', inline: 'nearest' });
}

/** After rows or head were made anew: the same place is the stop again. */
function refocus() {
  if (grid.querySelector('[tabindex="0"]')) return;
  stopAt(headButtons()[0]);
}

/** The head was made anew while a button of it had the focus: its successor gets it. */
function keepFocus(change) {
  const focused = document.activeElement?.closest('#grid th[data-key]');
  const key = focused?.dataset.key;
  const kind = document.activeElement?.className;
  change();
  if (!key) return;
  const cell = [...grid.tHead.rows[1].cells].find((one) => one.dataset.key === key);
  goTo(cell?.querySelector(`.${kind}`) ?? headButtons()[0]);
}

function sideways(element, step) {
  const isHead = current.row < 0;
  const all = isHead ? headButtons() : [...element.closest('tr').cells];
  return all[all.indexOf(element) + step];
}

function upOrDown(element, step) {
  const target = current.row + step;
  while (target >= body.rows.length && addRows());
  if (target < 0) {
    if (current.row < 0) return null;
    const heads = headButtons().filter((button) => Number(button.dataset.c) === current.column);
    return heads.at(-1);
  }
  return cellAt(body.rows[Math.min(target, body.rows.length - 1)], current.column);
}

const MOVES = {
  ArrowLeft: (element) => sideways(element, -1),
  ArrowRight: (element) => sideways(element, 1),
  ArrowUp: (element) => upOrDown(element, -1),
  ArrowDown: (element) => upOrDown(element, 1),
  PageUp: (element) => (current.row < 0 ? null : upOrDown(element, -Math.min(10, current.row + 1))),
  PageDown: (element) => upOrDown(element, 10),
  Home: (element, whole) => (whole ? headButtons()[0] : current.row < 0 ? headButtons()[0] : element.closest('tr').cells[0]),
  End: (element, whole) => {
    if (whole) while (addRows());
    const line = whole ? body.rows[body.rows.length - 1] : element.closest('tr');
    return current.row < 0 && !whole ? headButtons().at(-1) : line.cells[line.cells.length - 1];
  },
};

grid.addEventListener('keydown', (event) => {
  const element = event.target.closest('[data-c]');
  if (!element || event.altKey || event.metaKey) return;
  const move = MOVES[event.key];
  if (move) {
    event.preventDefault();
    goTo(move(element, event.ctrlKey));
  } else if ((event.key === 'Enter' || event.key === ' ') && element.closest('tbody')) {
    event.preventDefault();
    activate(element);
  }
});
// a click makes its place the stop, too
grid.addEventListener('pointerdown', (event) => {
  const element = event.target.closest('button[data-c], tbody [data-c]');
  if (element) stopAt(element);
});
