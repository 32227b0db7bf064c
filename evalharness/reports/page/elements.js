'use strict';
/* Elements, made of names and texts; nothing here, or after it, makes HTML of data. */

const SVG = 'http://www.w3.org/2000/svg';
const byId = (id) => document.getElementById(id);

/** An element with attributes (none for null and false) and children: elements, or texts that stay texts. */
function make(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** As `make`, of a drawing. */
function draw(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false || value === undefined) continue;
    if (typeof value === 'function') element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const piecesOf = (name) => name.split(/(?<=[a-z0-9])(?=[A-Z])|(?<=[_\-./ ])(?=[^_\-./ ])/);

/** A name that may break between its words: MassiveIntentClassification, a_name. */
function breakable(text) {
  const pieces = piecesOf(text);
  const parts = document.createDocumentFragment();
  pieces.forEach((piece, place) => {
    if (place) parts.append(document.createElement('wbr'));
    parts.append(piece);
  });
  return parts;
}

/** A text that only a screen reader says. */
const unseen = (text) => make('span', { class: 'hidden' }, text);

/** A labelled choice; `options` are [value, text]. */
function chooser(label, options, value, changed) {
  const select = make('select', { change: () => changed(select.value) });
  for (const [key, text] of options) select.append(make('option', { value: key, selected: String(key) === String(value) }, text));
  return make('label', {}, label, select);
}

/** A box to tick, with a count behind it where there is one. */
function tick(label, isOn, changed, count = null, type = 'checkbox', group = null) {
  const box = make('input', { type, name: group, checked: isOn, change: () => changed(box.checked) });
  return make('label', { class: 'tick' }, box, make('span', {}, label), count === null ? null : make('span', { class: 'number' }, String(count)));
}

const plural = (count, one, many = `${one}s`) => `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
