/** May what a configuration names be asked for, or told of, something? Over TLS, or without leaving this machine. */
export function isSafeToFetch(uri: string): boolean {
  const { protocol, hostname } = new URL(uri);
  return protocol === 'https:' || (protocol === 'http:' && ['127.0.0.1', 'localhost', '[::1]'].includes(hostname));
}
