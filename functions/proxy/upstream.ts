/** Where does a prediction go, and with whose credentials? Vertex's regional host, or the local emulator. */
import type { ResourceName } from '../../machines/rollout/resource-name.ts';
import { limits } from '../engine/limits.ts';

/** Makes the answer to "which origin serves this endpoint?". @param emulatorHost `host:port`, or null for Vertex */
export function upstreamOrigin(emulatorHost: string | null): (endpoint: ResourceName) => string {
  if (emulatorHost !== null) return () => `http://${emulatorHost}`;
  return ({ location }) => `https://${location}-aiplatform.googleapis.com`;
}

/**
 * Makes the source of access tokens, from the service account the function runs as. The library is loaded at the first
 * call and keeps a token until shortly before it expires. Rejects when there are no credentials, or not in time.
 */
export function googleAccessTokens(): () => Promise<string> {
  let auth: Promise<{ getAccessToken(): Promise<string | null | undefined> }> | null = null;
  return async () => {
    auth ??= import('google-auth-library').then(
      ({ GoogleAuth }) => new GoogleAuth({ scopes: ['https://www.googleapis.com/auth/cloud-platform'] }),
    );
    const token = await inTime((await auth).getAccessToken());
    if (!token) throw new Error('Google gave no access token; run the proxy as a service account that may predict');
    return token;
  };
}

async function inTime<T>(promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const problem = new Error(`Google gave no access token within ${limits.callDeadlineMs} ms`);
  const timer = setTimeout(() => reject(problem), limits.callDeadlineMs);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
