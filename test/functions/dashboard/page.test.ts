/** Does the page show what the API says, as text and nothing else, and send what a person confirmed? */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { contentSecurityPolicy, page } from '../../../functions/dashboard/page.ts';
import { type Browser, openPage } from './browser.ts';
import { journal, poisoned, rollout } from './fixtures.ts';

const api =
  (views: unknown[], entries: unknown[] = journal) =>
  (path: string) =>
    path === 'api/rollouts' ? { rollouts: views, now: 10_000 } : { entries };

const textOf = (browser: Browser) =>
  browser
    .all()
    .map(({ textContent }) => textContent)
    .join('\n');

const labels = (browser: Browser) =>
  browser
    .byId('active')
    .all()
    .filter(({ tag }) => tag === 'button')
    .map(({ textContent }) => textContent);

describe('the page', () => {
  it('runs its own script and style, and nothing else', () => {
    for (const tag of ['script', 'style']) {
      const [, text = ''] = new RegExp(`<${tag}>([^]*?)</${tag}>`).exec(page) ?? [];
      expect(text.length).toBeGreaterThan(100);
      expect(contentSecurityPolicy).toContain(
        `${tag}-src 'sha256-${createHash('sha256').update(text).digest('base64')}'`,
      );
    }
    expect(page).not.toMatch(/(src|href)="(https?:)?\/\//);
    expect(page).not.toMatch(/ on[a-z]+=| style=/);
  });

  it('shows steps, shares, counts, verdicts with reasons, and what is next', async () => {
    const text = textOf(await openPage(api([rollout])));
    for (const shown of [
      'delays version 7',
      'awaiting approval',
      'Step 1 of 2 waits for approval.',
      '5 %hold 10 min, then approval',
      '4.8 %',
      '1,234',
      '0.41 %',
      '48.2 ms',
      '20 % of 310 requests failed.',
      'the wait for answers ends',
      'Paused by ana',
      'holiday',
    ]) {
      expect(text).toContain(shown);
    }
  });

  it('shows whatever the API says as text, never as markup', async () => {
    const poison = '"><img src=x onerror=alert(1)><script>alert(2)</script>';
    const keep = new Set(['id', 'state', 'role', 'kind']);
    const browser = await openPage(
      api([poisoned(rollout, poison, keep)], [poisoned(journal[0], poison, new Set<string>())]),
    );
    const details = browser.all().find((each) => each.tag === 'details' && each.textContent.startsWith('Journal'));
    if (details === undefined) throw new Error('the page has no journal');
    details.open = true;
    details.fire('toggle');
    await browser.settle();
    expect(details.textContent).toContain(`${poison}Version 7 was blessed.`);
    expect(textOf(browser)).toContain(`${poison}Step 1 of 2 waits for approval.`);
    const tags = new Set(browser.all().map(({ tag }) => tag));
    expect(tags.has('img') || tags.has('script')).toBe(false);
    for (const { attributes } of browser.all()) {
      for (const [name, value] of attributes) {
        expect(name).not.toMatch(/^on|^src|^href|^style$/);
        expect(value).not.toContain('<');
      }
    }
  });

  it('offers what can be done: resume when paused, pause when not, nothing when it is over', async () => {
    let views: unknown[] = [rollout];
    const browser = await openPage((path) => api(views)(path));
    expect(labels(browser)).toEqual(['Approve', 'Resume', 'Promote', 'Abort']);
    views = [{ ...rollout, paused: null, state: 'deploying' }];
    await browser.poll();
    expect(labels(browser)).toEqual(['Pause', 'Abort']);
    views = [{ ...rollout, isFinal: true, state: 'promoted' }];
    await browser.poll();
    expect(labels(browser)).toEqual([]);
    expect(browser.byId('finished').textContent).toContain('delays version 7');
  });

  it('keeps its buttons while the numbers change, so that nobody clicks the wrong one', async () => {
    let views = [rollout];
    const browser = await openPage((path) => api(views)(path));
    const abort = browser.button('Abort');
    views = [{ ...rollout, reason: 'Something new.', updatedAt: 3_000 }];
    await browser.poll();
    expect(textOf(browser)).toContain('Something new.');
    expect(browser.button('Abort')).toBe(abort);
  });

  it('sends a command only after the confirmation, and the same one again when it failed', async () => {
    const sent: unknown[] = [];
    let isDown = true;
    const browser = await openPage((path, init) => {
      if (init?.body === undefined) return api([rollout])(path);
      sent.push([path, JSON.parse(init.body)]);
      return isDown ? new Error('the bus is away') : {};
    });
    browser.button('Abort').fire('click');
    await browser.settle();
    expect(browser.byId('dialog').open).toBe(true);
    expect(browser.byId('dialog-title').textContent).toBe('Abort delays version 7?');
    expect(sent).toEqual([]);
    browser.byId('dialog-by').value = 'Ana';
    browser.byId('dialog-form').fire('submit');
    await browser.settle();
    expect(browser.byId('dialog-problem').textContent).toBe('the bus is away');
    isDown = false;
    browser.byId('dialog-form').fire('submit');
    await browser.settle();
    expect(browser.byId('dialog').open).toBe(false);
    const order = ['api/rollouts/us-central1~456~7/commands', { command: 'abort', by: 'Ana', commandId: 'one-id' }];
    expect(sent).toEqual([order, order]);
  });

  it('says so when it is not up to date, and keeps what it showed', async () => {
    let isDown = false;
    const browser = await openPage((path) => (isDown ? new Error('the store is away') : api([rollout])(path)));
    isDown = true;
    await browser.poll();
    expect(browser.byId('status').textContent).toContain('Not up to date: the store is away');
    expect(textOf(browser)).toContain('delays version 7');
    isDown = false;
    await browser.poll();
    expect(browser.byId('status').textContent).toBe('Live, every 2 s');
  });
});
