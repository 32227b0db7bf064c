'use strict';
/* What leaves the page: the shown table as a file, and the address of what is shown. */

/** A text of a CSV file; one that a spreadsheet would compute has an apostrophe before it, as the format csv has it. */
function field(value) {
  const text = String(value ?? '');
  const safe = typeof value === 'string' && /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20']/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Rows as they are filtered and ordered, columns as they are shown; scores in points, unrounded as the page has them. */
function tableAsCsv() {
  const shown = board();
  const isAsked = rowFilter(shown);
  const heads = ['Model', 'Revision', 'Settings', ...(shown.has('published') ? ['Scores'] : [])];
  columns.forEach((column) => {
    const name = headOfPart(column);
    heads.push([name, column.kind === 'score' || column.key === 'borda' ? null : column.small].filter(Boolean).join(', '));
    if (column.data?.l) heads.push(`${name}, low`, `${name}, high`);
  });
  const lines = orderedRows(shown).filter(isAsked).map((row) => {
    const cells = [shown.of('model', row), shown.of('revision', row), namesOf(shown, row).changes.join(' ')];
    if (shown.has('published')) cells.push(shown.of('published', row) ? 'published' : 'own run');
    columns.forEach((column) => {
      const value = column.values[row];
      if (column.kind === 'span') cells.push(value === null ? null : column.show(value, row));
      else cells.push(column.kind === 'score' && value !== null ? Math.round(value) / 1000 : value);
      if (!column.data?.l) return;
      const span = spanOf(column.data, row);
      cells.push(span && span.low / 1000, span && span.high / 1000);
    });
    return cells;
  });
  return [heads, ...lines].map((cells) => `${cells.map(field).join(',')}\r\n`).join('');
}

function downloadTable() {
  const address = URL.createObjectURL(new Blob([tableAsCsv()], { type: 'text/csv;charset=utf-8' }));
  const name = board().title.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '') || 'leaderboard';
  make('a', { href: address, download: `${name}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

async function copyLink() {
  const button = byId('link');
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = 'Copied';
    byId('said').textContent = 'The link is copied.';
  } catch {
    button.textContent = 'See address';
    byId('said').textContent = 'The link could not be copied; it is the address of this page.';
  }
  setTimeout(() => { button.textContent = 'Link'; byId('said').textContent = ''; }, 1600);
}
