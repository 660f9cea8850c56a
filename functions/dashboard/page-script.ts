/**
 * What does the page do? Asks the API every two seconds, shows what changed, and sends commands after a confirmation.
 * It is text here because it runs in a browser. Everything shown goes through `element`, which knows text and no markup.
 */

export const script = String.raw`
'use strict';
const pollMs = 2000;
const deadlineMs = 10000;
const byId = (id) => document.getElementById(id);
const cards = new Map();
let clockSkewMs = 0;

const orders = {
  approve: { label: 'Approve', text: 'The step may be left as soon as its evidence is healthy.' },
  promote: { label: 'Promote', text: 'The next step is taken now, on your word instead of evidence, freeze or not.' },
  pause: { label: 'Pause', text: 'The canary gets no more traffic. Safety checks go on and may still roll back.' },
  resume: { label: 'Resume', text: 'The rollout goes on from here. A split that someone else changed becomes the new stable.' },
  abort: { label: 'Abort', text: 'The canary goes to 0 % at once. This ends the rollout.', isGrave: true },
};

/* Makes an element. Attributes are names we chose; whatever comes from the API is a child, and so is text. */
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== null) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined).map((child) =>
    typeof child === 'object' ? child : String(child)));
  return made;
}

const numbers = new Intl.NumberFormat('en', { maximumFractionDigits: 2 });
const number = (value) => value === null || value === undefined ? '–' : numbers.format(value);
const percent = (value) => value === null ? '–' : numbers.format(value) + ' %';
const lastPart = (name) => String(name).split('/').at(-1);
const words = (name) => String(name).replace(/([A-Z])/g, ' $1').toLowerCase();

function duration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const inUnits = (large, largeName, small, smallName) =>
    Math.floor(seconds / large) + largeName + (seconds % large < small ? '' : ' ' + Math.floor(seconds % large / small) + smallName);
  if (seconds < 120) return seconds + ' s';
  if (seconds < 7200) return inUnits(60, ' min', 1, ' s');
  if (seconds < 172800) return inUnits(3600, ' h', 60, ' min');
  return Math.floor(seconds / 86400) + ' days';
}

/* A time that goes on by itself: "12 s ago", "in 3 min 5 s". */
function timeOf(at) {
  const made = element('time', { datetime: new Date(at).toISOString(), title: new Date(at).toLocaleString() });
  made.at = at;
  tell(made);
  return made;
}
function tell(time) {
  const ms = Date.now() + clockSkewMs - time.at;
  const text = ms >= 0 ? duration(ms) + ' ago' : 'in ' + duration(-ms);
  if (time.textContent !== text) time.textContent = text;
}

const tones = {
  healthy: 'good', promoted: 'good', unhealthy: 'bad', failed: 'bad', rollingBack: 'bad', rolledBack: 'bad',
  inconclusive: 'wait', noData: 'wait', awaitingApproval: 'wait', aborted: 'wait',
};
const badge = (name, text) => element('span', { class: 'badge ' + (tones[name] || '') }, text || words(name));

function stepsOf(rollout) {
  const now = rollout.stepIndex === null ? -1 : rollout.stepIndex;
  const isOver = rollout.state === 'promoted' || rollout.state === 'observing';
  return element('ol', { class: 'steps', 'aria-label': 'Steps' }, rollout.steps.map((step, index) => {
    const isDone = index < now || isOver;
    const isNow = index === now && !isDone && !rollout.isFinal;
    return element('li', { class: isDone ? 'done' : isNow ? 'now' : undefined, 'aria-current': isNow ? 'step' : undefined },
      element('b', null, percent(step.percent)),
      element('small', { class: 'quiet' }, 'hold ' + duration(step.holdSeconds * 1000) + (step.approval ? ', then approval' : '')),
      element('span', { class: 'unseen' }, isDone ? ' done' : ''));
  }));
}

function shareBar(rollout, field) {
  return element('div', { class: 'bar', 'aria-hidden': 'true' }, rollout.variants.map((variant) => {
    const part = element('div', { class: variant.role === 'canary' ? 'canary' : 'stable' });
    part.style.width = (Number(variant[field]) || 0) + '%';
    return part;
  }));
}

function variantsOf(rollout) {
  const head = ['Variant', 'Version', 'Intended', 'Observed', 'Requests', 'Errors', 'Error rate', 'Latency'];
  return element('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Variants' }, element('table', null,
    element('thead', null, element('tr', null, head.map((text, index) =>
      element('th', { scope: 'col', class: index > 1 ? 'number' : undefined }, text)))),
    element('tbody', null, rollout.variants.map((variant) => element('tr', null,
      element('td', { class: 'role ' + (variant.role === 'canary' ? 'canary' : 'stable') }, variant.role),
      element('td', null, lastPart(variant.model) + ' @ ' + variant.versionId,
        element('span', { class: 'quiet' }, ' · deployed as ' + variant.deployedModelId)),
      [percent(variant.intendedPercent), percent(variant.observedPercent), number(variant.requests), number(variant.errors),
        variant.requests > 0 ? percent(100 * variant.errors / variant.requests) : '–',
        variant.latencyMs === null ? '–' : number(variant.latencyMs) + ' ms',
      ].map((text) => element('td', { class: 'number' }, text)))))));
}

function verdictsOf(rollout) {
  if (rollout.verdicts.length === 0) return null;
  return element('ul', { class: 'verdicts', 'aria-label': 'Verdicts' }, rollout.verdicts.map((verdict) => element('li', null,
    badge(verdict.kind), ' by ' + verdict.source + ', ', timeOf(verdict.at),
    element('ul', null, verdict.reasons.map((reason) => element('li', null, reason.text))))));
}

/* What is over is told in a sentence; its numbers are there for who asks. */
function evidenceOf(rollout) {
  const parts = [rollout.variants.length === 0 ? null : variantsOf(rollout), verdictsOf(rollout)];
  if (!rollout.isFinal) return parts;
  return element('details', null, element('summary', null, 'Numbers'), stepsOf(rollout), parts);
}

function bodyOf(rollout) {
  return element('div', null,
    element('div', { class: 'top' },
      element('h3', null, lastPart(rollout.model) + ' version ' + rollout.versionId),
      badge(rollout.state),
      rollout.paused === null ? null : badge('inconclusive', 'paused')),
    element('p', { class: 'where quiet' }, rollout.endpoint + ' · policy ' + rollout.policy + ' · started ',
      timeOf(rollout.startedAt), rollout.by === null ? '' : ' by ' + rollout.by,
      rollout.endedAt === null ? null : element('span', null, ' · ended ', timeOf(rollout.endedAt))),
    element('p', { class: 'reason' }, rollout.reason),
    rollout.paused === null ? null : element('p', { class: 'wait' }, 'Paused by ' + rollout.paused.by + ' ',
      timeOf(rollout.paused.at), rollout.paused.reason === '' ? '' : ': ' + rollout.paused.reason),
    rollout.next === null ? null : element('p', null, 'Next: ' + rollout.next.what + ' ', timeOf(rollout.next.at)),
    rollout.isFinal ? null : stepsOf(rollout),
    rollout.isFinal ? null : element('div', { class: 'shares' },
      element('span', { class: 'quiet' }, 'intended'), shareBar(rollout, 'intendedPercent'),
      element('span', { class: 'quiet' }, 'observed'), shareBar(rollout, 'observedPercent')),
    evidenceOf(rollout));
}

function ordersFor(rollout) {
  if (rollout.isFinal || rollout.state === 'rollingBack') return [];
  const canPromote = ['shifting', 'analysing', 'awaitingApproval'].includes(rollout.state);
  return [
    rollout.state === 'awaitingApproval' ? 'approve' : null,
    rollout.paused === null ? 'pause' : 'resume',
    canPromote ? 'promote' : null,
    'abort',
  ].filter((name) => name !== null);
}

function newCard(id) {
  const card = {
    id, rollout: null, shown: '', offered: '',
    body: element('div'), buttons: element('div', { class: 'buttons' }),
    rows: element('div'), journal: element('details', null, element('summary', null, 'Journal')),
  };
  card.journal.append(card.rows);
  card.journal.addEventListener('toggle', () => { if (card.journal.open) void showJournal(card); });
  card.root = element('article', null, card.body, card.buttons, card.journal);
  return card;
}

function showCard(card, rollout) {
  const text = JSON.stringify(rollout);
  if (text === card.shown) return;
  const isNews = card.shown !== '';
  card.shown = text;
  card.rollout = rollout;
  card.body.replaceChildren(bodyOf(rollout));
  const offered = ordersFor(rollout);
  // Buttons stay where they are while they mean the same, so that focus and aim are not lost.
  if (offered.join() !== card.offered) {
    card.offered = offered.join();
    card.buttons.replaceChildren(...offered.map((name) => {
      const button = element('button', { type: 'button', class: orders[name].isGrave ? 'grave' : undefined }, orders[name].label);
      button.addEventListener('click', () => confirmOrder(card.rollout, name));
      return button;
    }));
  }
  if (isNews && card.journal.open) void showJournal(card);
}

async function showJournal(card) {
  try {
    const entries = (await ask('api/rollouts/' + encodeURIComponent(card.id) + '/journal')).entries;
    const known = JSON.stringify(entries);
    if (known === card.entries) return;
    card.entries = known;
    card.rows.replaceChildren(element('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Journal' },
      element('table', null,
        element('thead', null, element('tr', null, ['When', 'What', 'State', 'By', 'Why'].map((head) =>
          element('th', { scope: 'col' }, head)))),
        element('tbody', null, entries.toReversed().map((entry) => element('tr', null,
          element('td', null, new Date(entry.at).toLocaleString()),
          element('td', null, entry.event),
          element('td', null, entry.from === entry.to ? entry.to : entry.from + ' → ' + entry.to),
          element('td', null, entry.by || '–'),
          element('td', null, entry.text,
            element('details', null, element('summary', null, 'record'),
              element('pre', null, JSON.stringify(entry.detail, null, 2))))))))));
  } catch (error) {
    card.rows.replaceChildren(element('p', { class: 'bad' }, 'The journal cannot be read: ' + error.message));
  }
}

let order = null;
function confirmOrder(rollout, name) {
  order = { id: rollout.id, name, commandId: crypto.randomUUID() };
  byId('dialog-title').textContent = orders[name].label + ' ' + lastPart(rollout.model) + ' version ' + rollout.versionId + '?';
  byId('dialog-text').textContent = orders[name].text;
  byId('dialog-confirm').textContent = orders[name].label;
  byId('dialog-confirm').setAttribute('class', orders[name].isGrave ? 'grave' : '');
  byId('dialog-problem').textContent = '';
  byId('dialog-reason').value = '';
  byId('dialog').showModal();
}
byId('dialog-cancel').addEventListener('click', () => byId('dialog').close());
byId('dialog-form').addEventListener('submit', (event) => {
  event.preventDefault();
  void sendOrder();
});

async function sendOrder() {
  const by = byId('dialog-by').value.trim();
  const reason = byId('dialog-reason').value.trim();
  byId('dialog-confirm').disabled = true;
  try {
    await ask('api/rollouts/' + encodeURIComponent(order.id) + '/commands', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      // The id is the dialog's: sent twice, it acts once.
      body: JSON.stringify({ command: order.name, commandId: order.commandId, ...(by && { by }), ...(reason && { reason }) }),
    });
    byId('dialog').close();
    void refresh();
  } catch (error) {
    byId('dialog-problem').textContent = error.message;
  } finally {
    byId('dialog-confirm').disabled = false;
  }
}

async function ask(path, init) {
  const response = await fetch(path, { ...init, signal: AbortSignal.timeout(deadlineMs) });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error((answer.error && answer.error.message) || 'the server answered ' + response.status);
  return answer;
}

function place(container, shown, emptyText) {
  const wanted = shown.length > 0 ? shown : [element('p', { class: 'empty' }, emptyText)];
  const present = [...container.children];
  if (shown.length === 0 && present.length === 1 && present[0].textContent === emptyText) return;
  if (wanted.length !== present.length || wanted.some((each, index) => each !== present[index])) container.replaceChildren(...wanted);
}

async function refresh() {
  const status = byId('status');
  try {
    const { rollouts, now } = await ask('api/rollouts');
    clockSkewMs = now - Date.now();
    for (const rollout of rollouts) {
      if (!cards.has(rollout.id)) cards.set(rollout.id, newCard(rollout.id));
      showCard(cards.get(rollout.id), rollout);
    }
    const ids = new Set(rollouts.map(({ id }) => id));
    for (const id of cards.keys()) if (!ids.has(id)) cards.delete(id);
    const rootsOf = (isFinal) => rollouts.filter((each) => each.isFinal === isFinal).map(({ id }) => cards.get(id).root);
    place(byId('active'), rootsOf(false), 'No rollout is under way. Bless a model version to start one.');
    place(byId('finished'), rootsOf(true), 'None yet.');
    const text = 'Live, every ' + pollMs / 1000 + ' s';
    if (status.textContent !== text) status.textContent = text;
    status.setAttribute('class', '');
  } catch (error) {
    const text = 'Not up to date: ' + error.message + '. Trying again.';
    if (status.textContent !== text) status.textContent = text;
    status.setAttribute('class', 'bad');
  }
}

async function poll() {
  if (!document.hidden) await refresh();
  setTimeout(() => void poll(), pollMs);
}
setInterval(() => { for (const time of document.querySelectorAll('time')) tell(time); }, 1000);
document.addEventListener('visibilitychange', () => { if (!document.hidden) void refresh(); });
void poll();
`;
