/** What does a browser get? One page, whole in itself: no framework, no asset from elsewhere, and no data in it. */
import { createHash } from 'node:crypto';
import { script } from './page-script.ts';
import { style } from './page-style.ts';

const hashOf = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** Only the page's own script and style run, and only its own API is asked. */
export const contentSecurityPolicy = [
  "default-src 'none'",
  `script-src ${hashOf(script)}`,
  `style-src ${hashOf(style)}`,
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** The page; everything it shows comes from the API and is set as text, never as markup. */
export const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Rollouts</title>
<link rel="icon" href="data:,">
<style>${style}</style>
</head>
<body>
<header>
<h1>Rollouts</h1>
<p id="status" role="status">Loading…</p>
</header>
<main>
<section aria-labelledby="active-title">
<h2 id="active-title">Active</h2>
<div id="active"></div>
</section>
<section aria-labelledby="finished-title">
<h2 id="finished-title">Finished</h2>
<div id="finished"></div>
</section>
<noscript><p>This page needs JavaScript. The same data is at <a href="api/rollouts">api/rollouts</a>.</p></noscript>
</main>
<dialog id="dialog" aria-labelledby="dialog-title" aria-describedby="dialog-text">
<form id="dialog-form" method="dialog">
<h2 id="dialog-title"></h2>
<p id="dialog-text"></p>
<label>Your name <input id="dialog-by" maxlength="200" autocomplete="name" required></label>
<label>Reason <input id="dialog-reason" maxlength="1000" autocomplete="off"></label>
<p id="dialog-problem" role="alert"></p>
<div class="buttons">
<button type="button" id="dialog-cancel">Cancel</button>
<button type="submit" id="dialog-confirm"></button>
</div>
</form>
</dialog>
<script>${script}</script>
</body>
</html>
`;
