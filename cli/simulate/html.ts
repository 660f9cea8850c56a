/**
 * What does one send to a colleague? The whole answer as one page: no script, nothing loaded from elsewhere. The same answer,
 * the same bytes.
 */
import type { Style } from '../text.ts';
import { assumptions, cellsOf, headings, legendOf, letters, type Simulation } from './render.ts';
import { colors, drawSimulation, escapeText } from './svg.ts';

const inks: Record<Style, string> = {
  bold: 'font-weight:600',
  dim: `color:${colors.quiet}`,
  green: 'color:#1a7f37',
  yellow: 'color:#8a6100',
  red: 'color:#b42318;font-weight:600',
  cyan: 'color:#0969da',
};

const css = `
body { max-width: 980px; margin: 32px auto; padding: 0 16px; font: 15px/1.5 system-ui, sans-serif; color: ${colors.text}; background: #fff }
h1 { font-size: 24px; margin: 0 0 4px } h2 { font-size: 17px; margin: 28px 0 8px }
p { margin: 4px 0; color: ${colors.quiet} } table { border-collapse: collapse; width: 100%; font-size: 14px }
th { font-weight: 400; color: ${colors.quiet}; text-align: right; white-space: nowrap } small { color: ${colors.quiet} } td { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
th, td { padding: 5px 6px; border-bottom: 1px solid ${colors.line}; vertical-align: bottom }
th:first-child, td:first-child { text-align: left } tr.second td:first-child { color: ${colors.quiet} }
svg { max-width: 100%; height: auto } li { margin: 4px 0 } code { font-size: 13px; color: ${colors.quiet} }
.scroll { overflow-x: auto }`;

/** The page. */
export function drawPage(simulation: Simulation): string {
  const { sides } = simulation;
  const title = sides.map(({ label }) => label).join(' versus ');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeText(title)}: how rollouts would go</title>
<style>${css}
</style>
</head>
<body>
<h1>${escapeText(title)}</h1>
<p>${escapeText(assumptions(simulation))}</p>
<h2>How they end</h2>
<div class="scroll">
${table(simulation)}
</div>
${notSimulated(simulation)}<p>${escapeText(legendOf([]))}</p>
<h2>The canary’s share over time</h2>
${drawSimulation(simulation)}${sides.map((side) => adviceList(side, sides.length > 1)).join('')}</body>
</html>
`;
}

function table({ sides }: Simulation): string {
  const heads = headings.map((text) => `<th scope="col">${escapeText(text)}</th>`).join('');
  const rows = (sides[0]?.answer.answers ?? []).flatMap(({ fault, text: what }) =>
    sides.map(({ answer, label }, side) => {
      const found = answer.answers.find((each) => each.fault === fault);
      const [, ...cells] = found === undefined ? [] : cellsOf(found);
      const name = side === 0 ? `<b>${escapeText(fault)}</b><br><small>${escapeText(what)}</small>` : '';
      const who = sides.length > 1 ? `${name === '' ? '' : '<br>'}${letters[side]} ${escapeText(label)}` : '';
      const data = cells.map(
        ({ text, style }) => `<td${style === null ? '' : ` style="${inks[style]}"`}>${escapeText(text)}</td>`,
      );
      return `<tr${side === 1 ? ' class="second"' : ''}><td>${name}${who}</td>${data.join('')}</tr>`;
    }),
  );
  return `<table>\n<thead><tr>${heads}</tr></thead>\n<tbody>\n${rows.join('\n')}\n</tbody>\n</table>`;
}

function notSimulated({ sides }: Simulation): string {
  const all = sides[0]?.answer.notSimulated ?? [];
  return all
    .map(({ fault, why }) => `<p><b>${escapeText(fault)}</b>: not simulated; ${escapeText(why)}.</p>\n`)
    .join('');
}

function adviceList({ label, advice }: Simulation['sides'][number], isVersus: boolean): string {
  const items = advice.map(({ path, text }) => `<li><code>${escapeText(path)}</code> ${escapeText(text)}</li>`);
  const body = items.length === 0 ? '<p>Nothing here asks for a change.</p>' : `<ul>\n${items.join('\n')}\n</ul>`;
  return `<h2>${isVersus ? `Advice for ${escapeText(label)}` : 'Advice'}</h2>\n${body}\n`;
}
