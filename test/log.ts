/** What was logged? Nothing of it is printed. */
import { beforeEach, vi } from 'vitest';

/** Collects what is logged; in every test anew. */
export function captureLog(): string[] {
  const lines: string[] = [];
  beforeEach(() => {
    lines.length = 0;
    vi.spyOn(console, 'error').mockImplementation((text) => lines.push(String(text)));
    for (const stream of [process.stdout, process.stderr]) {
      vi.spyOn(stream, 'write').mockImplementation((text) => lines.push(String(text)) > 0);
    }
  });
  return lines;
}
