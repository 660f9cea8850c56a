/**
 * Who ends the containers when the emulator is killed outright? This process. It reads `+PID` and `-PID` lines from its
 * standard input, and kills the process groups that are left when that closes. It holds nothing else, and ends itself.
 */
import { createInterface } from 'node:readline';

const groups = new Set<number>();

for await (const line of createInterface({ input: process.stdin })) {
  const pid = Number(line.slice(1));
  if (!Number.isInteger(pid) || pid <= 1) continue;
  if (line.startsWith('+')) groups.add(pid);
  else groups.delete(pid);
}

for (const pid of groups) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // The group has ended by itself: nothing is left to kill.
  }
}
