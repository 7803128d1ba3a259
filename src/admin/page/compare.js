// The page's compare: in comes what `GET /compare` says, out go its verdict, the numbers of each event type, and what differs, by ids alone.

import { element, finding, replace, timeOf, write } from './view.js';

const byId = (id) => document.getElementById(id);
const signs = { same: '✓', different: '✕', unjudged: '–' };
const sum = (numbers) => numbers.reduce((all, number) => all + number, 0);

/** @param run null: nothing was compared */
export function isComparing(run) {
  return run !== null && run.state !== 'ended';
}

export function showCompare({ run, verdict, sampleLines, blind }) {
  byId('compare-run').hidden = run === null;
  write(byId('compare-line'), run === null ? 'Nothing was compared yet.' : verdict.line);
  byId('compare-line').dataset.verdict = run === null ? '' : verdict.isStale ? 'unjudged' : verdict.is;
  replace(
    byId('compare-blind'),
    blind.map((words) => element('li', '', words)),
  );
  if (run === null) return;
  const { by, startedAt, state, types } = run;
  const judging = { running: 'compared now', stopping: 'its last seconds are being judged', ended: 'ended' };
  write(byId('compare-by'), `by ${by}, since ${timeOf(startedAt)}, ${judging[state]}`);
  const rows = Object.entries(types).sort(([, a], [, b]) => b.events - a.events);
  replace(byId('compare-types'), rows.map(rowOf));
  byId('compare-types').closest('table').hidden = rows.length === 0;
  replace(
    byId('compare-samples'),
    sampleLines.map((words) => finding('✕', words)),
  );
  if (sampleLines.length === 0 && verdict.is !== 'different')
    replace(byId('compare-samples'), [finding(signs[verdict.is], 'nothing that differs')]);
}

function rowOf([type, { events, same, ignored, missing, changed, order, unjudged }]) {
  const row = document.createElement('tr');
  const head = element('th', '', type);
  head.scope = 'row';
  const cells = [events, same, ignored, missing + changed + order, sum(Object.values(unjudged))];
  row.append(head, ...cells.map((number) => element('td', '', number.toLocaleString('en'))));
  return row;
}
