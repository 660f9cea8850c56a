/** What went wrong, by consequence: a TransientError is healed by trying again, a PermanentError is not. */

export const errorCodes = [
  'notFound',
  'alreadyExists',
  'invalidArgument',
  'failedPrecondition',
  'conflict',
  'permissionDenied',
  'unauthenticated',
  'resourceExhausted',
  'unavailable',
  'deadlineExceeded',
  'cancelled',
  'unimplemented',
  'internal',
] as const;

export type ErrorCode = (typeof errorCodes)[number];

/** What was thrown, for a person; a library may throw what is no Error. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** False for a mistake of ours, or the end of the process: then nothing more is to be done. */
export function isPlatformError(error: unknown): error is TransientError | PermanentError {
  return error instanceof TransientError || error instanceof PermanentError;
}

export class TransientError extends Error {
  override readonly name = 'TransientError';
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export class PermanentError extends Error {
  override readonly name = 'PermanentError';
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
