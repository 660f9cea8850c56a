/**
 * Is whoever started us still there? A kill of npm does not reach us: between npm and us is a shell, and neither passes
 * it on. So we look, and only under npm: who starts us from a shell may leave that shell.
 */
import { spawnSync } from 'node:child_process';

const POLL_MS = 500;

/** Calls back once when the npm that started us, or the shell in between, has ended. Returns how to stop looking. */
export function onceOrphaned(callback: () => void): () => void {
  if (process.env['npm_lifecycle_event'] === undefined) return () => undefined;
  const parent = process.ppid;
  const npm = npmOf(parent);
  const timer = setInterval(() => {
    if (process.ppid === parent && (npm === null || isAlive(npm))) return;
    clearInterval(timer);
    callback();
  }, POLL_MS).unref();
  return () => clearInterval(timer);
}

/** The shell's parent; null when npm is our parent itself, as where the shell gives its place to the last command. */
function npmOf(parent: number): number | null {
  const { stdout } = spawnSync('ps', ['-o', 'ppid=,args=', '-p', String(parent)], { encoding: 'utf8' });
  const [, grandparent = '', command = ''] = /^\s*(\d+)\s+(.*)$/s.exec(stdout ?? '') ?? [];
  return /^\S*sh -c /.test(command) ? Number(grandparent) : null;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
