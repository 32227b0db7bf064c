'use strict';
/* What stands above the table: the choice of a board, and of its rows and columns. */

const MOST_TABS = 5;

function showBoards() {
  if (BOARDS.length < 2) return;
  const place = byId('boards');
  place.hidden = false;
  const named = BOARDS.map((one) => one.name);
  const go = (number) => choose({ ...fresh(), board: number, ...Object.fromEntries(SWITCHES.map((name) => [name, state[name]])) });
  const tabs = place.querySelectorAll('input');
  const select = place.querySelector('select');
  if (tabs.length) tabs[state.board].checked = true;
  else if (select) select.value = String(state.board);
  else if (BOARDS.length > MOST_TABS) place.append(make('div', { class: 'choices' }, chooser('Leaderboard', named.map((name, number) => [number, name]), state.board, (value) => go(Number(value)))));
  else {
    const tab = (name, number) => make('label', {}, make('input', { type: 'radio', name: 'board', checked: number === state.board, change: () => go(number) }), make('bdi', {}, name));
    place.append(make('fieldset', { class: 'tabs' }, make('legend', { class: 'hidden' }, 'Leaderboard'), ...named.map(tab)));
  }
}

function showTitle() {
  const shown = board();
  byId('title').replaceChildren(make('bdi', {}, shown.title));
  byId('about').textContent = [`${shown.protocol} protocol`, shown.has('published') && !hasBoth(shown) ? plural(shown.size, 'published model') : plural(shown.size, 'model'), `${plural(shown.tasks.length, 'task')} of ${plural(shown.types.length, 'type')}`, 'scores \u00d7 100'].join(' \u00b7 ');
}

/** The sheet below a button, made anew where it is open; what had the focus in it has it again. */
function fillSheet(id, count, made) {
  const menu = byId(id);
  menu.querySelector('.number')?.replaceChildren(count || '');
  if (!menu.open) return;
  const sheet = menu.querySelector('.sheet');
  const labels = () => [...sheet.querySelectorAll('input, select, button')];
  const place = labels().indexOf(document.activeElement);
  const scrolled = sheet.scrollTop;
  sheet.replaceChildren(...made().filter(Boolean));
  sheet.scrollTop = scrolled;
  if (place >= 0) labels()[place]?.focus({ preventScroll: true });
}

const group = (title, ...children) => make('fieldset', {}, make('legend', {}, title), ...children.filter(Boolean));

function showTypes() {
  const shown = board();
  const names = shown.types.map((type) => type.name);
  const chosen = state.types ?? new Set(names);
  const change = (name, isOn) => {
    const next = new Set(names.filter((one) => (one === name ? isOn : chosen.has(one))));
    choose({ types: next.size === names.length ? null : next });
  };
  fillSheet('types', state.types ? `${names.filter((name) => chosen.has(name)).length}/${names.length}` : '', () => [
    group('Show tasks of', ...shown.types.map((type) => tick(type.name, chosen.has(type.name), (isOn) => change(type.name, isOn), type.tasks.length))),
    state.types ? make('p', { class: 'hint' }, 'The column \u201cMean, shown\u201d is over the tasks of these types; the other means stay over all tasks.') : null,
    make('div', { class: 'row' }, make('button', { type: 'button', class: 'quiet', click: () => choose({ types: null }) }, 'All'), make('button', { type: 'button', class: 'quiet', click: () => choose({ types: new Set() }) }, 'None')),
  ]);
}

const numberBox = (label, key) => make('input', { type: 'number', min: 0, step: 'any', inputmode: 'decimal', placeholder: label, 'aria-label': `${label}, millions of parameters`, value: state[key], change: (event) => choose({ [key]: event.target.value }) });

function showModelFilters() {
  const shown = board();
  const families = new Map();
  for (let row = 0; row < shown.size; row += 1) {
    const { family } = namesOf(shown, row);
    families.set(family, (families.get(family) ?? 0) + 1);
  }
  const sorted = [...families].sort(([one, a], [other, b]) => b - a || LETTERS.compare(one, other));
  const count = [state.origin, state.families.size, state.least || state.most, state.zeroShot].filter(Boolean).length;
  const toggled = (name, isOn) => new Set(sorted.map(([one]) => one).filter((one) => (one === name ? isOn : state.families.has(one))));
  fillSheet('models', count ? String(count) : '', () => [
    hasBoth(shown) ? group('Scores', ...ORIGINS.map(([value, text]) => tick(text, state.origin === value, () => choose({ origin: value }), null, 'radio', 'origin'))) : null,
    shown.has('parameters') ? group('Parameters (millions)', make('div', { class: 'between' }, numberBox('at least', 'least'), 'to', numberBox('at most', 'most')), make('p', { class: 'hint' }, 'Leaves out models of unknown size.')) : null,
    shown.has('zeroShot') ? group('Zero-shot: share of tasks not trained on', zeroShotChoice(), make('p', { class: 'hint' }, 'Leaves out models of which nobody says what they were trained on.')) : null,
    families.size > 1 ? group('Families', ...sorted.map(([name, many]) => tick(name || '(no owner)', state.families.has(name), (isOn) => choose({ families: toggled(name, isOn) }), many))) : null,
  ]);
}

function zeroShotChoice() {
  const select = make('select', { 'aria-label': 'Zero-shot', change: (event) => choose({ zeroShot: event.target.value }) });
  for (const [value, text] of ZERO_SHOTS) select.append(make('option', { value, selected: state.zeroShot === value }, text));
  return select;
}

function showView() {
  const shown = board();
  const openable = shown.types.filter((type) => isShown(type, state)).map((type) => `type:${type.name}`);
  const hasSpans = Boolean(shown.mean.l) || shown.tasks.some((task) => task.l);
  fillSheet('view', '', () => [
    group('Show', tick('Heat map', state.heat, (isOn) => choose({ heat: isOn })),
      hasSpans ? tick('Intervals', state.bars, (isOn) => choose({ bars: isOn })) : null,
      facts(shown).length ? tick('Facts of models', state.facts, (isOn) => choose({ facts: isOn })) : null),
    group('Columns', make('div', { class: 'row' },
      make('button', { type: 'button', class: 'quiet', click: () => choose({ open: new Set(openable) }) }, 'Open all types'),
      make('button', { type: 'button', class: 'quiet', click: () => choose({ open: new Set() }) }, 'Close all'))),
  ]);
}

function showTools() {
  const query = byId('query');
  if (query.value !== state.query) query.value = state.query;
  showTypes();
  showModelFilters();
  showView();
  const isFiltered = state.query || state.origin || state.families.size || state.least || state.most || state.zeroShot || state.types;
  byId('reset').hidden = !isFiltered;
}

const THEMES = [['', 'Auto'], ['light', 'Light'], ['dark', 'Dark']];

function showTheme() {
  const name = THEMES.find(([key]) => key === keptTheme())?.[1] ?? 'Auto';
  byId('theme').textContent = `Theme: ${name}`;
}

function bindTools() {
  let typing = 0;
  byId('query').addEventListener('input', (event) => {
    clearTimeout(typing);
    typing = setTimeout(() => choose({ query: event.target.value }), 60);
  });
  byId('reset').addEventListener('click', () => {
    const { query, origin, families, least, most, zeroShot, types } = fresh();
    choose({ query, origin, families, least, most, zeroShot, types });
    byId('query').focus();
  });
  byId('theme').addEventListener('click', () => {
    const place = THEMES.findIndex(([key]) => key === keptTheme());
    setTheme(THEMES[(place + 1) % THEMES.length][0]);
    showTheme();
  });
  byId('csv').addEventListener('click', downloadTable);
  byId('link').addEventListener('click', copyLink);
  byId('skip').addEventListener('click', (event) => {
    event.preventDefault();
    grid.querySelector('[tabindex="0"]')?.focus();
  });
  const menus = [...document.querySelectorAll('.menu')];
  menus.forEach((menu) => menu.addEventListener('toggle', showTools));
  document.addEventListener('click', (event) => {
    // what was clicked may have been made anew since, and then is in no menu any more
    if (!event.target.isConnected) return;
    menus.forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; });
  });
  // a sheet would lie over what has the focus now
  document.addEventListener('focusin', (event) => menus.forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; }));
  document.addEventListener('keydown', (event) => {
    const open = menus.find((menu) => menu.open);
    if (event.key !== 'Escape' || !open) return;
    open.open = false;
    open.querySelector('summary').focus();
  });
}
