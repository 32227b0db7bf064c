'use strict';
/* The page begins here: what was chosen is shown, and shown again when it changes. */

// rows alone, or nothing of the table, need to be made anew when these change
const ROWS_ONLY = new Set(['query', 'origin', 'families', 'least', 'most', 'zeroShot', 'sort', 'descending']);
const NOTHING = new Set(['cost', 'by', 'heat']);
const CALM = 180;
const NO_CHARTS = new Set(['sort', 'descending', 'open', 'heat', 'facts']);

function show(changed) {
  const only = (names) => changed.every((name) => names.has(name));
  grid.classList.toggle('heat', state.heat);
  if (changed.includes('board')) {
    showBoards();
    showTitle();
    showNotes();
  }
  if (!only(NOTHING)) {
    if (only(ROWS_ONLY)) {
      markOrder();
      showRows();
    } else keepFocus(showTable);
    showLegend();
  }
  showTools();
  if (only(NO_CHARTS)) return;
  clearTimeout(later);
  // charts are further down and wait until nothing more is typed; but not for what is chosen above them
  if (only(NOTHING)) showCharts();
  else later = setTimeout(showCharts, CALM);
}
let later = 0;

function showCharts() {
  showScatter();
  showSeries();
}

function showNotes() {
  const shown = board();
  const left = shown.items?.left ?? [];
  const standing = [
    'Scores are kept to 0.00001 here; JSON and CSV have them unrounded.',
    shown.items ? 'Items of a score are in its sheet: open a task\u2019s score.' : 'No scores of single items are in this page.',
  ];
  byId('notes').querySelector('ul').replaceChildren(...[...shown.notes, ...left, ...standing].map((note) => make('li', {}, make('bdi', {}, note))));
}

if (keptTheme()) setTheme(keptTheme());
byId('app').hidden = false;
byId('made').textContent = `Made by ${DATA.made}.`;
bindTools();
showTheme();
if (BOARDS.length) {
  readAddress();
  listeners.push(show);
  show(['board']);
  addEventListener('hashchange', () => { readAddress(); show(['board']); });
} else {
  byId('title').textContent = 'No leaderboards';
  document.querySelector('main').hidden = true;
}
let width = innerWidth;
addEventListener('resize', () => {
  if (innerWidth === width || !BOARDS.length) return;
  width = innerWidth;
  clearTimeout(later);
  later = setTimeout(() => { keepFocus(showTable); showCharts(); }, 120);
});
