/** Does whoever is called at night find the page? Each alert has its section, and each check of the doctor its row. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { checks } from '../cli/doctor.ts';

const textOf = (file: string): string => readFileSync(file, 'utf8');
const found = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map(([, name = '']) => name);

test('each alert that Terraform makes has its section in the runbooks', () => {
  const alerts = textOf('terraform/alerts.tf');
  const titles = [
    ...found(alerts, /^ {6}title\s+= "([^"$]+)"/gm),
    ...found(alerts, /display_name\s+= "Vertex Rollouts: (A[^"$]+)"/g),
  ];
  expect(titles).toHaveLength(6);
  const headings = found(textOf('docs/runbooks.md'), /^## (.+)$/gm);
  expect(titles.filter((title) => !headings.includes(title))).toEqual([]);
});

test('each check of the doctor has its row, in its order', () => {
  const [, table = ''] = textOf('docs/doctor.md').split('## What it looks at');
  const rows = found(table, /^\| (?!check|---)(.+?) \|/gm);
  expect(rows).toEqual(checks.map(({ name }) => name));
});
