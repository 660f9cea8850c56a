/**
 * Which Cloud Functions are there? The one list, which Terraform mirrors. A door loads when it is first called, so that
 * each function starts with no more than it needs; the proxy, whose first caller waits, loads with its function.
 */
import { cloudEvent, http } from '@google-cloud/functions-framework';
import { parseEnvironment } from './engine/environment.ts';
import { log } from './engine/log.ts';

try {
  parseEnvironment(process.env);
  // Before strangers come: it refuses to start on a bad configuration, and sees requests before anyone reads them.
  const isProxy = process.env['FUNCTION_TARGET'] === 'predict' || process.argv.includes('--target=predict');
  if (isProxy) await import('./serve-predict.ts');
} catch (error) {
  log('CRITICAL', error instanceof Error ? error.message : String(error));
  process.exit(1);
}

cloudEvent('onBlessing', async (event: unknown) => (await import('./on-blessing.ts')).onBlessing(event));
cloudEvent('onTick', async (event: unknown) => (await import('./on-tick.ts')).onTick(event));
cloudEvent('onCommand', async (event: unknown) => (await import('./on-command.ts')).onCommand(event));
cloudEvent('onIncident', async (event: unknown) => (await import('./on-incident.ts')).onIncident(event));
cloudEvent('onEvidence', async (event: unknown) => (await import('./on-evidence.ts')).onEvidence(event));
http('predict', async (request, response) => (await import('./serve-predict.ts')).predict(request, response));
http('dashboard', async (request, response) => (await import('./serve-dashboard.ts')).dashboard(request, response));
